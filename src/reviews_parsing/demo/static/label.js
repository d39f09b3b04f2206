// The labelling view: a queue of reviews, one after the other. The number of the review is the fragment of the address.

import { ApiError, describeModel, request } from "./api.js";
import { button, el, note, plural, setTitle } from "./dom.js";
import { createEditor, startEdit } from "./editor.js";
import { renderMyFiles } from "./files.js";
import { legend } from "./marks.js";
import * as outbox from "./outbox.js";
import * as records from "./records.js";
import { parseText, renderAnswer } from "./review.js";

export const show = async (main, id) => {
  setTitle("Labelling");
  main.append(el("h1", {}, "Labelling"));
  const message = el("div", {});
  main.append(message);
  let model;
  let queue;
  try {
    model = await describeModel();
    id ??= model.queue;
    if (!id) {
      showChoice(main);
      return;
    }
    queue = await request(`/api/files/${id}/queue`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    message.append(note(error.message, "error"), error.isTemporary ? button("Try again", () => location.reload()) : "");
    return;
  }
  showQueue(main, message, id, queue, model);
};

const showChoice = (main) => {
  main.append(
    el("p", {}, "Label reviews one by one: the model's answer is accepted or corrected, and the next review follows. A queue is a file of reviews, best one from ",
      el("code", {}, "reviews-parsing data suggest"), ", which selects the reviews whose labels help the model most."),
    el("p", {}, el("a", { href: "/files" }, "Upload a file"), ", then choose “Label reviews one by one”."),
    ...renderMyFiles());
};

const showQueue = (main, message, id, queue, model) => {
  const total = queue.labelled.length;
  let number = 0;
  let record = null;
  const keys = el("input", { type: "checkbox", id: "rp-keys", onchange: () => records.setting("keys", keys.checked) });
  keys.checked = records.setting("keys") ?? true;
  const heading = el("h2", { tabindex: "-1", id: "rp-queue-title" });
  const bar = el("progress", { max: total, "aria-label": "Labelled reviews" });
  const count = el("p", { role: "status" });
  const answer = el("section", { id: "rp-first", class: "rp-answer", "aria-label": "Answer" });
  const editor = el("div", { id: "rp-editor" });
  const previous = button("Previous", () => go(number - 1), { id: "rp-previous" });
  const next = button("Next", () => go(number + 1), { id: "rp-next" });
  const accept = button("Accept and next", () => acceptAndNext(), { id: "rp-accept", class: "rp-button rp-primary" });
  main.append(
    el("p", { class: "rp-hint" }, queue.name),
    el("div", { class: "rp-progress" }, bar, count),
    heading,
    model.polarities.length ? legend(model.polarities) : "",
    answer,
    el("div", { class: "rp-tools" }, previous, next, accept),
    el("p", {}, keys, el("label", { for: "rp-keys" }, " Shortcut keys: A accepts and goes on, N goes on without saving, P goes back")),
    editor);

  const recordId = (index) => `queue-${id}-${index}`;

  // The record of a review, with its answer; it is fetched ahead of time for the next review.
  const load = async (index) => {
    const stored = records.get(recordId(index));
    // Somebody else may have labelled it since it was stored.
    if (stored?.answer && (stored.edit || Boolean(stored.answer.correction) === queue.labelled[index])) return stored;
    const { text } = await request(`/api/files/${id}/queue/${index}`);
    const created = { id: recordId(index), text, answer: await parseText(text), edit: null, queue: { id, number: index } };
    const other = records.get(created.id);
    if (other?.edit) return other;
    records.put(created);
    return created;
  };

  const go = (index) => {
    if (index >= 0 && index < total) location.hash = `#${index + 1}`;
  };

  const open = async () => {
    const wanted = Number(location.hash.slice(1)) - 1;
    const firstOpen = queue.labelled.indexOf(false);
    number = Number.isInteger(wanted) && wanted >= 0 && wanted < total ? wanted : Math.max(0, firstOpen);
    if (wanted !== number) history.replaceState(null, "", `#${number + 1}`);
    const index = number;
    record = null;
    answer.replaceChildren();
    editor.replaceChildren();
    renderHead();
    message.replaceChildren(note("Parsing …"));
    try {
      const loaded = await load(index);
      if (index !== number) return;
      record = loaded;
      message.replaceChildren();
      render();
      heading.focus();
      if (index + 1 < total) load(index + 1).catch(() => {});
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (index === number) message.replaceChildren(note(error.message, "error"), button("Try again", open));
    }
  };

  const renderHead = () => {
    const labelled = queue.labelled.filter(Boolean).length;
    heading.textContent = `Review ${number + 1} of ${total}${queue.labelled[number] ? ", labelled" : ""}`;
    bar.value = labelled;
    count.textContent = labelled === total ? "All reviews are labelled." : `${plural(labelled, "review")} of ${total} labelled.`;
    previous.disabled = number === 0;
    next.disabled = number === total - 1;
    accept.disabled = !record;
  };

  const render = () => {
    renderHead();
    if (!record.edit) {
      answer.replaceChildren(...renderAnswer(record.answer, model, 0));
      editor.replaceChildren(button("Correct this answer", () => {
        startEdit(record);
        render();
        document.getElementById("rp-editor-title").focus();
      }, { id: "rp-correct" }));
      return;
    }
    answer.replaceChildren();
    editor.replaceChildren(createEditor(record, model, {
      onSave: () => outbox.save(record, model),
      onDiscard: () => { render(); heading.focus(); },
    }));
  };

  // Save the answer as it is shown, corrected or not, and open the next review without waiting for the server.
  const acceptAndNext = () => {
    if (!record) return;
    if (record.edit || !record.answer.correction) {
      if (!record.edit) startEdit(record);
      outbox.save(record, model);
      queue.labelled[number] = true;
    }
    if (number + 1 < total) go(number + 1);
    else render();
  };

  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (!keys.checked || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = { a: acceptAndNext, n: () => go(number + 1), p: () => go(number - 1) };
    actions[event.key.toLowerCase()]?.();
  });
  window.addEventListener("hashchange", open);
  window.addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  records.onChange((changed) => {
    if (record && changed === record.id) {
      record = records.get(changed) ?? record;
      render();
    }
  });
  outbox.onSent((sent) => {
    if (sent.queue?.id !== id) return;
    if (!sent.edit) queue.labelled[sent.queue.number] = true;
    else if (!sent.edit.waiting) {
      queue.labelled[sent.queue.number] = false;
      message.replaceChildren(note(`Review ${sent.queue.number + 1} is not saved: ${sent.edit.message}`, "error"),
        el("p", {}, el("a", { href: `#${sent.queue.number + 1}` }, `Go to review ${sent.queue.number + 1}`)));
    }
    if (record?.id === sent.id) {
      record = sent;
      render();
    } else {
      renderHead();
    }
  });
  open();
};
