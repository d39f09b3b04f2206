// Corrections on their way to the server: sent again until it answers, by whichever tab is open.

import { ApiError, request } from "./api.js";
import * as records from "./records.js";

const FIRST_PAUSE = 2000;
const MAX_PAUSE = 30000;
let pause = FIRST_PAUSE;
let timer = null;
const listeners = new Set();

// Call back with the record after each attempt to send it.
export const onSent = (callback) => listeners.add(callback);

export const toRequest = (record, model) => {
  const { edit, answer } = record;
  const known = new Set([...model.categories, ...model.implicit]);
  return {
    text: answer.text,
    aspects: edit.aspects,
    predicted_aspects: answer.aspects,
    model: answer.model,
    version: answer.version,
    author: edit.author || null,
    base_revision: edit.base,
    new_categories: [...new Set(edit.aspects.map((aspect) => aspect.entity_group).filter((name) => !known.has(name)))],
  };
};

// Save the edit of a record. The request is part of the record, so that it survives a reload.
export const save = async (record, model) => {
  record.edit.waiting = toRequest(record, model);
  record.edit.message = "Saving …";
  record.edit.conflict = null;
  records.put(record);
  await send(record.id);
};

const send = async (id) => {
  let record = records.get(id);
  const waiting = record?.edit?.waiting;
  if (!waiting) return;
  let saved = null;
  let failure = null;
  try {
    saved = (await request("/api/corrections", { method: "POST", json: waiting })).correction;
  } catch (error) {
    failure = error;
  }
  record = records.get(id);
  if (!record) return;
  const isCurrent = JSON.stringify(record.edit?.waiting) === JSON.stringify(waiting);
  if (saved) {
    pause = FIRST_PAUSE;
    record.answer.correction = saved;
    record.saved = saved.revision;
    if (isCurrent) record.edit = null;
    // The edit was changed meanwhile: it goes on from the revision that was saved.
    else if (record.edit) record.edit.base = saved.revision;
  } else if (!isCurrent) {
    return;
  } else if (failure instanceof ApiError && failure.isTemporary) {
    record.edit.message = `Not saved yet: ${failure.message}. It is sent again by itself.`;
    schedule(Math.max(pause, 1000 * failure.retryAfter));
  } else {
    record.edit.waiting = null;
    record.edit.message = failure.message;
    if (failure.status === 409) record.edit.conflict = failure.body.correction;
  }
  records.put(record);
  listeners.forEach((listener) => listener(record));
};

const schedule = (delay) => {
  clearTimeout(timer);
  timer = setTimeout(flush, delay);
  pause = Math.min(2 * pause, MAX_PAUSE);
};

export const flush = async () => {
  clearTimeout(timer);
  for (const record of records.all()) if (record.edit?.waiting) await send(record.id);
};

window.addEventListener("online", flush);
