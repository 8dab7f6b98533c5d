"""A guess at a text's language, for the metrics only: which languages people ask in.

Scripts decide where a script has one main language; the commonest short words decide among
languages that share one. It is wrong on short texts and on languages outside the list; no vector
depends on it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

__all__ = ["LANGUAGES", "detect_language"]

_CHARACTERS = 400

# First word of a character's Unicode name -> language, for scripts with one main language.
_SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "THAI": "th",
    "GREEK": "el",
    "HEBREW": "he",
    "BENGALI": "bn",
    "TELUGU": "te",
    "TAMIL": "ta",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "KHMER": "km",
    "LAO": "lo",
    "MYANMAR": "my",
    "ETHIOPIC": "am",
    "TIBETAN": "bo",
}

_WORDS = {
    "LATIN": {
        "en": "the of and to is in that it was for you he are with his what how this not have i do my we she",
        "de": "der die und das ist nicht ein ich zu es sie mit den auf für wie er eine hat wir was im ihr",
        "fr": "le la les de et est un une je que pas il des en ce vous nous pour qui dans elle à sur ne du",
        "es": "el los de que y es en un una no por con para como se lo qué está del las su mi muy yo más",
        "pt": "o os de que e é um uma não por com para como se do da em você isso eu mais está na no ele",
        "it": "il di che è e un una non per con come si la del gli sono questo ha mi le della ho lo cosa io",
        "nl": "de het een en van is niet ik dat je op te zijn met voor hij wat aan die er we naar ze hoe",
        "ro": "de și nu este în a un o pe care cu la să mai ce sunt din pentru am eu ai lui fost",
        "pl": "nie się jest i w na że to co jak do z mam czy tym był dla po tak jego są za",
        "cs": "je se v na to že co jak do jsem s z pro ale byl jsou by tom když po už mi ho si",
        "fi": "on ja ei se että hän en minä olen mitä oli tämä ovat kun mutta niin voi kuin hyvin joka tai",
        "tr": "bir ve bu ne için da de çok o ben var değil mi ile nasıl daha kadar gibi onun her",
        "vi": "là của và có không tôi một những được cho anh này với người đã trong bạn nó ở như rất",
        "id": "yang dan di itu tidak ini dengan untuk saya dari adalah apa ada ke dia akan pada kamu bisa",
        "sw": "ya na wa ni kwa katika la za hii ana kuwa cha yake hiyo sana yangu si wewe mimi je",
        "sv": "och att det är en jag inte på som för med han har de vi av du ett om den hon kan",
        "hu": "a az és nem hogy egy van ez azt meg ki mit csak volt én de ha is már nagyon",
    },
    "CYRILLIC": {
        "ru": "и в не на что он я с это как по но из у за она так мы ты был было его меня все",
        "uk": "і в не на що він я з це як до та але у за вона так ми ти був є його мене чи",
        "bg": "и в не на че той е с това как по но от за тя така ние ти беше са да се аз",
    },
    "ARABIC": {
        "ar": "في من على أن ما هو هذا إلى لا كان التي هل هذه لم أنا مع عن ذلك كل قد كيف أو",
        "fa": "که در به از این را با است من برای آن یک تو او چه می ما نیست هم خود بود چگونه شما",
        "ur": "کے میں کی ہے اور کا سے نہیں یہ کو پر نے ہیں کہ وہ ایک تھا آپ کیا ہو کر",
    },
    "DEVANAGARI": {
        "hi": "के में है की और का से नहीं यह को पर ने हैं कि वह एक था आप क्या हो कर मैं",
        "mr": "आहे आणि नाही तो या हे मी ते ती काय असे होते मला एक त्या च्या आहेत",
        "ne": "छ र मा को हो यो भने पनि गर्न छन् थियो म तपाईं के एक",
    },
}
_DEFAULT = {"CYRILLIC": "ru", "ARABIC": "ar", "DEVANAGARI": "hi", "LATIN": "other"}
_SETS = {
    script: {language: frozenset(words.split()) for language, words in languages.items()}
    for script, languages in _WORDS.items()
}
LANGUAGES = frozenset(
    {*_SCRIPTS.values(), *(code for words in _WORDS.values() for code in words), "other"}
)
"""Every answer of :func:`detect_language`: ISO 639-1 codes and ``other``."""

# Not \w, which leaves out the vowel signs of Devanagari.
_WORD = re.compile(r"[^\s\d.,;:!?()\[\]\"'«»„“”¿¡।،؟]+")


def detect_language(text: str) -> str:
    """One of :data:`LANGUAGES`; looks at the first few hundred characters."""
    text = text[:_CHARACTERS].lower()
    scripts = Counter(map(_script, filter(str.isalpha, text)))
    # A single kana makes Chinese characters Japanese.
    if scripts["HIRAGANA"] or scripts["KATAKANA"]:
        return "ja"
    if not scripts:
        return "other"
    script = scripts.most_common(1)[0][0]
    if script in _SCRIPTS:
        return _SCRIPTS[script]
    if script not in _SETS:
        return "other"
    words = Counter(_WORD.findall(text))
    scores = {
        language: sum(words[word] for word in known & words.keys())
        for language, known in _SETS[script].items()
    }
    language = max(scores, key=lambda candidate: scores[candidate])
    return language if scores[language] else _DEFAULT[script]


@lru_cache(maxsize=20_000)
def _script(character: str) -> str:
    return unicodedata.name(character, "OTHER").split(" ", 1)[0].split("-", 1)[0]
