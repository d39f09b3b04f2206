// The view of one review. Its state is a record, whose id is the fragment of the address.

import { ApiError, describeModel, request } from "./api.js";
import { button, el, note, setTitle } from "./dom.js";
import { createEditor, describeAuthor, startEdit } from "./editor.js";
import { huesOf, languageName, legend, renderReview } from "./marks.js";
import * as outbox from "./outbox.js";
import * as records from "./records.js";

const EXAMPLES = {
  "A noodle bar": "The dan dan noodles were fiery and generous, and at nine pounds I can't complain. Shame about the wait: forty minutes, and nobody so much as looked at us.",
  "A hotel": "Woke up to the whole harbour from our balcony. The bed was a plank, though, and the woman at the desk charged us for a minibar that we never opened.",
  "A café": "Best flat white in the street! The cardamom buns were gone by ten, so come early. Cosy, a bit loud.",
  "A bar": "We paid eighteen dollars for a mojito that was mostly ice. The bartender was charming, at least.",
  "In a few words": "Yum! We'll be back.",
};

// Ask for the answer to a text.
export const parseText = async (text) => {
  const { model, answers, words, correction } = await request("/api/parse", { method: "POST", json: { text } });
  const [first] = answers;
  return { text, model, version: first.version, aspects: first.aspects, answers, words, correction, language: first.language, foreign: first.foreign };
};

// The correction of an answer, if there is one, before the answer itself.
export const renderAnswer = (answer, model, threshold) => {
  const hue = huesOf(model, answer.aspects, answer.correction?.aspects ?? []);
  const [, second] = answer.answers;
  const others = second?.aspects ?? null;
  const first = el("div", {},
    answer.foreign
      ? el("p", { class: "rp-foreign rp-hint" }, `Language: ${languageName(answer.language)}. The model does not read it: no probability is above 0.5.`)
      : "",
    renderReview(answer.text, answer.aspects, hue, { threshold, others }));
  if (!answer.correction) return [el("h2", {}, `Version ${answer.version}`), first];
  const status = answer.correction.status === "approved" ? "" : ", waiting for approval";
  return [
    el("h2", { tabindex: "-1", class: "rp-corrected-title" }, "Corrected"),
    el("p", { class: "rp-corrected" }, `Corrected by ${describeAuthor(answer.correction)} (revision ${answer.correction.revision}${status}).`),
    renderReview(answer.text, answer.correction.aspects, hue),
    el("details", {}, el("summary", {}, `The answer of version ${answer.version}`), first),
  ];
};

export const show = async (main) => {
  setTitle("One review");
  let record = null;
  let threshold = 0;
  let model = { categories: [], implicit: [], polarities: [], servers: [] };
  let latestRequest = 0;

  const input = el("textarea", { id: "rp-input", rows: 4, placeholder: "Paste or write a review …", "aria-describedby": "rp-input-hint", dir: "auto" });
  const form = el("form", { id: "rp-form" },
    el("label", { for: "rp-input" }, "A review"),
    input,
    el("p", { class: "rp-hint", id: "rp-input-hint" }, "Enter parses, Shift and Enter begin a new line."),
    el("div", { class: "rp-tools" },
      el("button", { type: "submit", class: "rp-button rp-primary", id: "rp-parse" }, "Parse"),
      el("span", { class: "rp-hint" }, "or try"),
      Object.entries(EXAMPLES).map(([name, text]) => button(name, () => parse(text)))));
  const message = el("div", { id: "rp-message" });
  const thresholdOutput = el("output", { for: "rp-threshold" }, "0.00");
  const slider = el("input", { type: "range", id: "rp-threshold", min: 0, max: 1, step: 0.05, value: 0, "aria-describedby": "rp-threshold-hint", oninput: () => {
    threshold = Number(slider.value);
    thresholdOutput.textContent = threshold.toFixed(2);
    renderAnswers();
  } });
  const filter = el("div", { class: "rp-filter" },
    el("label", { for: "rp-threshold" }, "Minimum probability"), slider, thresholdOutput,
    el("span", { class: "rp-hint", id: "rp-threshold-hint" }, "Less probable aspects are left out; nothing is parsed again."));
  const legendPlace = el("div", {});
  const first = el("section", { id: "rp-first", class: "rp-answer", "aria-label": "Answer" });
  const second = el("section", { id: "rp-second", class: "rp-answer", "aria-label": "Answer of the second server" });
  const correct = button("Correct this answer", () => {
    startEdit(record, threshold);
    render();
    document.getElementById("rp-editor-title").focus();
  }, { id: "rp-correct" });
  const answers = el("div", {}, filter, legendPlace, el("div", { class: "rp-answers" }, first, second), el("div", { class: "rp-tools" }, correct));
  const editor = el("div", { id: "rp-editor" });
  const stale = el("p", { class: "rp-hint", hidden: true }, "The text was changed since it was parsed. ", button("Back to the parsed text", () => {
    input.value = record.answer.text;
    keepText();
    input.focus();
  }));
  const unfinished = el("div", {});
  main.append(
    el("h1", {}, "One review"),
    el("p", { class: "rp-hint" }, "What a review talks about, how its writer feels about each thing, and how sure the model is."),
    form, message, stale, answers, editor, unfinished);

  const say = (text, kind) => message.replaceChildren(...(text ? [note(text, kind)] : []));

  // Open a record: the one of the address, or a new one.
  const open = (id) => {
    record = records.get(id) ?? { id: id || records.newId(), text: "", answer: null, edit: null };
    say("");
    input.value = record.text;
    render();
  };

  const create = (text) => {
    record = { id: records.newId(), text, answer: null, edit: null };
    history.pushState(null, "", `#${record.id}`);
  };

  const isAnswered = () => Boolean(record.answer) && record.answer.text === record.text;

  const keepText = () => {
    const wasAnswered = isAnswered();
    record.text = input.value;
    records.put(record);
    if (location.hash !== `#${record.id}`) history.replaceState(null, "", `#${record.id}`);
    if (isAnswered() !== wasAnswered) render();
  };

  // A text other than that of the answer becomes a record of its own, so that nothing is thrown away.
  const parse = async (text) => {
    const number = ++latestRequest;
    if (!text.trim()) {
      say("There is nothing to parse yet: write or paste a review.");
      return;
    }
    if (records.hasUnparsedText(record) && record.text !== text) {
      create(text);
    } else if (record.answer && record.answer.text !== text) {
      record.text = record.answer.text;
      records.put(record);
      create(text);
    }
    record.text = text;
    records.put(record);
    history.replaceState(null, "", `#${record.id}`);
    input.value = text;
    render();
    say("Parsing …");
    const { id } = record;
    try {
      const answer = await parseText(text);
      const parsed = records.get(id);
      // The text may have been changed in another tab.
      if (parsed && parsed.text === text) {
        parsed.answer = answer;
        records.put(parsed);
      }
      if (record.id === id) {
        record = parsed ?? record;
        if (number === latestRequest) say("");
        render();
      }
      refreshModel(answer);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (record.id === id && number === latestRequest) say(`${error.message}. Your text is still here.`, "error");
    }
  };

  const refreshModel = async (answer) => {
    if (answer.answers.some(({ version }, index) => version !== model.servers[index]?.version)) await loadModel(true);
  };

  const loadModel = async (refresh) => {
    try {
      model = await describeModel(refresh);
      legendPlace.replaceChildren(...(model.polarities.length ? [legend(model.polarities)] : []));
      render();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  };

  const renderAnswers = () => {
    const answer = record.answer;
    first.replaceChildren(...renderAnswer(answer, model, threshold));
    const [, other] = answer.answers;
    second.hidden = !other;
    if (!other) return;
    const body = other.error
      ? note(other.error, "error")
      : renderReview(answer.text, other.aspects, huesOf(model, answer.aspects, other.aspects), { threshold, others: answer.aspects });
    second.replaceChildren(...(other.error ? [body] : [el("h2", {}, `Version ${other.version}`), body]));
  };

  const render = () => {
    answers.hidden = editor.hidden = !isAnswered();
    stale.hidden = !record.answer || isAnswered();
    if (isAnswered()) {
      renderAnswers();
      correct.hidden = Boolean(record.edit);
      editor.replaceChildren(...(record.edit ? [createEditor(record, model, { onSave: () => outbox.save(record, model), onDiscard: () => { render(); correct.focus(); } })] : []));
      if (record.origin) editor.append(el("p", {}, el("a", { href: record.origin.href }, `Back to ${record.origin.name}`)));
    }
    renderUnfinished();
  };

  const renderUnfinished = () => {
    const others = records.unfinished().filter((other) => other.id !== record.id);
    unfinished.replaceChildren(...(others.length ? [el("section", { class: "rp-unfinished", "aria-labelledby": "rp-unfinished-title" },
      el("h2", { id: "rp-unfinished-title" }, "Unfinished"),
      el("ul", {}, others.map((other) => el("li", {},
        el("a", { href: hrefOf(other) }, titleOf(other)),
        el("span", { class: "rp-hint" }, ` ${describe(other)} `),
        button("Throw away", () => throwAway(other), { "aria-label": `Throw away: ${titleOf(other)}` })))))] : []));
  };

  const throwAway = (other) => {
    if (!window.confirm(`Throw away “${titleOf(other)}”? It is not saved.`)) return;
    records.remove(other.id);
    renderUnfinished();
    input.focus();
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    parse(input.value);
  });
  input.addEventListener("input", keepText);
  input.addEventListener("keydown", (event) => {
    // On a screen keyboard Enter is the only way to begin a line.
    const isTouch = window.matchMedia("(hover: none) and (pointer: coarse)").matches;
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || isTouch) return;
    event.preventDefault();
    form.requestSubmit();
  });
  window.addEventListener("hashchange", () => open(location.hash.slice(1)));
  // A page that the browser kept aside was not told what other tabs changed.
  window.addEventListener("pageshow", (event) => { if (event.persisted) open(location.hash.slice(1)); });
  records.onChange((id) => {
    if (id !== record.id) {
      renderUnfinished();
      return;
    }
    const other = records.get(id);
    if (!other) return;
    record = other;
    input.value = record.text;
    render();
  });
  outbox.onSent((sent) => {
    if (sent.id !== record.id) {
      renderUnfinished();
      return;
    }
    record = sent;
    render();
    if (record.edit?.conflict) {
      editor.querySelector(".rp-conflict-notice").focus();
    } else if (!record.edit) {
      say(`Saved as revision ${record.saved}. Thank you.`);
      first.querySelector(".rp-corrected-title")?.focus();
    }
  });
  open(location.hash.slice(1));
  await loadModel();
};

const hrefOf = (record) => record.queue ? `/label/${record.queue.id}#${record.queue.number + 1}` : `/#${record.id}`;

const titleOf = (record) => {
  const text = records.hasUnsavedEdit(record) ? record.answer.text : record.text;
  return text.length > 60 ? `${text.slice(0, 60)} …` : text;
};

const describe = (record) => {
  if (record.edit?.waiting) return "correction waits for the server";
  return records.hasUnsavedEdit(record) ? "correction not saved" : "not parsed yet";
};
