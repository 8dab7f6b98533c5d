"""The canary: known parallel sentences that must be neighbours before the service answers.

No check of a single vector finds two swapped answers, the tokenizer of another model, or a driver
that computes meaningless vectors of unit norm. Four sentences in twelve languages do. Each sentence
and its English translation must be nearer to one another than to the three others of either
language.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["SENTENCES", "CanaryReport", "canary_texts", "check", "judge"]

SENTENCES: Mapping[str, tuple[str, str, str, str]] = {
    "en": (
        "The doctor told the patient to take the medicine twice a day.",
        "The train to the airport leaves every twenty minutes.",
        "Add two eggs and a cup of flour, then stir the dough well.",
        "The football team won the final in the last minute of the match.",
    ),
    "de": (
        "Der Arzt sagte dem Patienten, er solle das Medikament zweimal täglich einnehmen.",
        "Der Zug zum Flughafen fährt alle zwanzig Minuten.",
        "Zwei Eier und eine Tasse Mehl hinzufügen, dann den Teig gut umrühren.",
        "Die Fußballmannschaft gewann das Finale in der letzten Minute des Spiels.",
    ),
    "fr": (
        "Le médecin a dit au patient de prendre le médicament deux fois par jour.",
        "Le train pour l'aéroport part toutes les vingt minutes.",
        "Ajoutez deux œufs et une tasse de farine, puis mélangez bien la pâte.",
        "L'équipe de football a gagné la finale à la dernière minute du match.",
    ),
    "es": (
        "El médico le dijo al paciente que tomara el medicamento dos veces al día.",
        "El tren al aeropuerto sale cada veinte minutos.",
        "Añade dos huevos y una taza de harina y luego mezcla bien la masa.",
        "El equipo de fútbol ganó la final en el último minuto del partido.",
    ),
    "ru": (
        "Врач велел пациенту принимать лекарство два раза в день.",
        "Поезд в аэропорт отправляется каждые двадцать минут.",
        "Добавьте два яйца и стакан муки, затем хорошо перемешайте тесто.",
        "Футбольная команда выиграла финал на последней минуте матча.",
    ),
    "ar": (
        "قال الطبيب للمريض أن يتناول الدواء مرتين في اليوم.",
        "يغادر القطار إلى المطار كل عشرين دقيقة.",
        "أضف بيضتين وكوبًا من الدقيق ثم حرّك العجين جيدًا.",
        "فاز فريق كرة القدم بالمباراة النهائية في الدقيقة الأخيرة.",
    ),
    "zh": (
        "医生叫病人每天吃两次药。",
        "去机场的火车每二十分钟一班。",
        "加入两个鸡蛋和一杯面粉，然后把面团搅拌均匀。",
        "足球队在比赛的最后一分钟赢得了决赛。",
    ),
    "ja": (
        "医者は患者に、薬を一日二回飲むように言った。",
        "空港行きの電車は二十分おきに出ます。",
        "卵二個と小麦粉一カップを加えて、生地をよく混ぜてください。",
        "サッカーチームは試合の最後の一分で決勝に勝った。",
    ),
    "hi": (
        "डॉक्टर ने मरीज़ को दिन में दो बार दवा लेने के लिए कहा।",
        "हवाई अड्डे की ट्रेन हर बीस मिनट में चलती है।",
        "दो अंडे और एक कप आटा डालें, फिर आटे को अच्छी तरह मिलाएँ।",
        "फुटबॉल टीम ने मैच के आखिरी मिनट में फाइनल जीत लिया।",
    ),
    "tr": (
        "Doktor hastaya ilacı günde iki kez almasını söyledi.",
        "Havaalanına giden tren her yirmi dakikada bir kalkıyor.",
        "İki yumurta ve bir bardak un ekleyin, sonra hamuru iyice karıştırın.",
        "Futbol takımı finali maçın son dakikasında kazandı.",
    ),
    "vi": (
        "Bác sĩ bảo bệnh nhân uống thuốc hai lần một ngày.",
        "Tàu đi sân bay khởi hành hai mươi phút một chuyến.",
        "Thêm hai quả trứng và một chén bột mì, rồi khuấy đều bột.",
        "Đội bóng đá đã thắng trận chung kết ở phút cuối cùng.",
    ),
    "fi": (
        "Lääkäri käski potilaan ottaa lääkettä kaksi kertaa päivässä.",
        "Juna lentokentälle lähtee kahdenkymmenen minuutin välein.",
        "Lisää kaksi munaa ja kupillinen jauhoja ja sekoita taikina hyvin.",
        "Jalkapallojoukkue voitti loppuottelun ottelun viimeisellä minuutilla.",
    ),
}
"""Language -> the four sentences in it."""

_ALLOWED_ERRORS = 1
"""Number of sentences that may be nearer to a wrong one.

The default model has none, two swapped answers give two or more, meaningless vectors about 33.
"""

_SAME_TEXT = 0.99
"""Minimum cosine of two vectors of one text.

With the default model another batch moves it by 1e-6. The nearest two of the 48 sentences have
0.974.
"""


@dataclass(frozen=True)
class CanaryReport:
    """Result of a check: which translations are nearest neighbours."""

    passed: bool
    accuracy: Mapping[str, float]
    """Language -> share of its four sentences that are mutual nearest neighbours of their English
    translation."""
    reason: str
    """Result in one sentence."""


def canary_texts() -> list[str]:
    """Return all sentences, English first, in the order that :func:`judge` expects."""
    return [sentence for sentences in SENTENCES.values() for sentence in sentences]


async def check(embed: Callable[[Sequence[str]], Awaitable[NDArray[np.float32]]]) -> CanaryReport:
    """Embed the sentences all at once and language by language; both must pass and agree.

    Two translations of one sentence that change places remain good neighbours. But a call for one
    language has four different sentences. Two vectors that change places thus show in one of the
    rounds or between them.

    Args:
        embed: Returns the vectors ``(N, D)`` of N texts.
    """
    together = await embed(canary_texts())
    if not (report := judge(together)).passed:
        return report
    apart = np.concatenate([await embed(sentences) for sentences in SENTENCES.values()])
    if not (again := judge(apart)).passed:
        return again
    worst = float(np.min(np.sum(together.astype(np.float64) * apart, axis=1)))
    if worst >= _SAME_TEXT:
        return report
    return replace(
        report,
        passed=False,
        reason=f"The canary: one text got two vectors of cosine {worst:.3f}, alone and among "
        f"others; at least {_SAME_TEXT} is expected.",
    )


def judge(vectors: NDArray[np.float32]) -> CanaryReport:
    """Judge the unit vectors ``(48, D)`` of :func:`canary_texts`."""
    count = len(canary_texts())
    if vectors.ndim != 2 or len(vectors) != count:
        accuracy = dict.fromkeys(SENTENCES, 0.0)
        return CanaryReport(
            False,
            accuracy,
            f"The canary: {count} sentences got an answer of shape {vectors.shape}.",
        )
    by_language = vectors.astype(np.float64).reshape(len(SENTENCES), -1, vectors.shape[1])
    english = by_language[0]
    accuracy = {}
    for language, own in zip(SENTENCES, by_language, strict=True):
        similarity = own @ english.T
        right = np.diag(similarity)
        others = similarity - 2 * np.eye(len(similarity))
        # Both directions: else a foreign sentence in the place of an English one could attract all
        # sentences of its topic.
        rival = np.maximum(others.max(axis=1), others.max(axis=0))
        # Strictly nearer, so that vectors that are all equal fail.
        accuracy[language] = float(np.mean(right > rival + 1e-4))
    errors = round(sum(4 * (1 - share) for share in accuracy.values()))
    worst = min(accuracy, key=lambda language: accuracy[language])
    return CanaryReport(
        passed=errors <= _ALLOWED_ERRORS and accuracy["en"] == 1,
        accuracy=accuracy,
        reason=f"The canary: {errors} of {vectors.shape[0]} known sentences are nearer to a wrong "
        f"translation than to their own (worst: {worst}, {accuracy[worst]:.0%} right).",
    )
