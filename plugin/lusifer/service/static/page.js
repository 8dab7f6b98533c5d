"use strict";

const byId = (id) => document.getElementById(id);
const origin = location.origin;
let modelName = "";

/** Make an element with text. Texts of users enter the page as text only, never as HTML. */
function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function headers(more = {}) {
  const key = byId("key").value.trim();
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

function show(list, entries) {
  list.replaceChildren(
    ...entries.map(([name, value]) => {
      const pair = element("div");
      pair.append(element("dt", name), element("dd", value));
      return pair;
    }),
  );
  if (!list.classList.contains("tiles")) {
    list.replaceChildren(...[...list.children].flatMap((pair) => [...pair.children]));
  }
}

const POLICIES = {
  truncate: "is cut and reported as truncated",
  mean_of_windows: "is averaged over windows",
  error: "is refused",
};
const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const milliseconds = (seconds) => `${number(1000 * seconds)} ms`;

function showStatus(status) {
  const ready = byId("ready");
  ready.textContent = status.ready ? "Ready." : `Not ready. ${status.reason ?? ""}`;
  ready.classList.toggle("bad", !status.ready);
  byId("version").textContent = `version ${status.version}`;
  byId("key-section").hidden = !status.keys;
  if (status.model) {
    if (modelName !== status.model.name) {
      modelName = status.model.name;
      showConnections();
    }
    show(byId("model"), [
      ["Name", status.model.name],
      ["Fingerprint", status.model.fingerprint.slice(0, 23) + "…"],
      ["Dimensions", status.model.dimensions.join(", ")],
      [
        "Token limit",
        `${status.model.maximum_tokens}; a longer text ${POLICIES[status.model.long_text]}`,
      ],
      ["Engine", `${status.model.engine}, ${status.model.precision}`],
      ["Languages evaluated", status.model.languages_evaluated.join(" ")],
    ]);
  }
  if (status.load) {
    const lookups = status.cache.hits + status.cache.misses;
    show(byId("load"), [
      ["median latency", milliseconds(status.last_minute.p50_s)],
      ["95th percentile latency", milliseconds(status.last_minute.p95_s)],
      ["requests/s", number(status.last_minute.requests_per_s, 1)],
      ["engine tokens/s", number(status.load.tokens_per_s)],
      ["engine busy", `${number(100 * status.load.engine_busy)}%`],
      ["tokens queued", number(status.load.queued_tokens)],
      ["cache hits", lookups ? `${number((100 * status.cache.hits) / lookups)}%` : "–"],
    ]);
  }
}

async function refresh() {
  if (!document.hidden) {
    try {
      showStatus(await (await fetch("status", { headers: headers() })).json());
    } catch {
      byId("ready").textContent = "The service does not answer.";
      byId("ready").classList.add("bad");
    }
  }
  setTimeout(refresh, 1000);
}

function connections() {
  const host = location.host;
  return [
    ["Weaviate: embeds each object at ingest and each query", `ENABLE_MODULES=text2vec-transformers
TRANSFORMERS_INFERENCE_API=${origin}`],
    ["Weaviate, Python", `client.collections.create(
    "Articles",
    vector_config=Configure.Vectors.text2vec_transformers(vectorize_collection_name=False),
)`],
    ["Weaviate, 96 objects per call through its Cohere module (with any API key, unless this " +
      "service needs one)", `Configure.Vectors.text2vec_cohere(
    base_url="${origin}", model="${modelName}", vectorize_collection_name=False
)`],
    ["Qdrant 1.17 or newer: embeds each Document", `QDRANT__INFERENCE__ADDRESS=${origin}/qdrant`],
    ["Qdrant, Python", `client = QdrantClient(url=..., cloud_inference=True, timeout=60)
document = models.Document(text="...", model="${modelName}")
client.upsert("articles", [models.PointStruct(id=1, vector={"text": document})])
client.query_points("articles", query=document, using="text")`],
    ["OpenAI's client", `OpenAI(base_url="${origin}/v1", api_key="none").embeddings.create(
    model="${modelName}:query", input=["..."]
)`],
    ["Text Embeddings Inference", `curl ${host}/embed \\
    -d '{"inputs": ["..."], "prompt_name": "query"}'`],
  ];
}

function showConnections() {
  byId("connect").replaceChildren(
    ...connections().flatMap(([title, text]) => {
      const box = element("div", undefined, { class: "copy" });
      const button = element("button", "Copy", { type: "button", "aria-label": `Copy: ${title}` });
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(text);
          button.textContent = "Copied";
        } catch {
          // Without https a page may not use the clipboard: select the text instead.
          getSelection().selectAllChildren(box.querySelector("pre"));
          button.textContent = "Selected";
        }
        setTimeout(() => (button.textContent = "Copy"), 1500);
      });
      box.append(element("pre", text), button);
      return [element("h3", title), box];
    }),
  );
}

/** Compute the cosine of two unit vectors. */
const cosine = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);

/** Choose background and ink, light to dark in one hue, for a share from 0 to 1. */
function colour(share) {
  const lightness = 96 - 66 * share;
  return [`hsl(197 ${30 + 45 * share}% ${lightness}%)`, lightness > 55 ? "#14171a" : "#ffffff"];
}

function showSimilarity(texts, vectors) {
  const values = vectors.map((a) => vectors.map((b) => cosine(a, b)));
  const lowest = Math.min(...values.flat());
  const table = element("table");
  const head = element("tr");
  const numbers = texts.map((_, index) => element("th", `${index + 1}`, { scope: "col" }));
  head.append(element("td"), ...numbers);
  table.append(head);
  values.forEach((row, i) => {
    const line = element("tr");
    line.append(element("th", `${i + 1}. ${texts[i]}`, { scope: "row", dir: "auto" }));
    row.forEach((value, j) => {
      const cell = element("td", value.toFixed(2), { title: `${texts[i]} – ${texts[j]}` });
      const [ground, ink] = colour((value - lowest) / (1 - lowest || 1));
      cell.style.background = ground;
      cell.style.color = ink;
      line.append(cell);
    });
    table.append(line);
  });
  byId("similarity").replaceChildren(table);
}

function report(problem) {
  byId("problem").hidden = !problem;
  byId("problem").textContent = problem;
}

byId("try").addEventListener("submit", async (event) => {
  event.preventDefault();
  const lines = byId("texts").value.split("\n");
  const texts = lines.map((line) => line.trim()).filter(Boolean);
  if (!texts.length || texts.length > 40) {
    report("Write 1 to 40 sentences, one per line.");
    return;
  }
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch("v1/embeddings", {
      method: "POST",
      headers: headers({ "Content-Type": "application/json" }),
      body: JSON.stringify({ input: texts, model: "", input_type: byId("role").value }),
    });
    const body = await answer.json();
    if (!answer.ok) {
      throw new Error(body.error?.message ?? `The service answered with status ${answer.status}.`);
    }
    report("");
    showSimilarity(texts, body.data.map((item) => item.embedding));
  } catch (error) {
    byId("similarity").replaceChildren();
    report(error.message);
  } finally {
    button.disabled = false;
  }
});

refresh();
