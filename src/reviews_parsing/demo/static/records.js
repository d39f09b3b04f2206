// Reviews in the browser's storage: the text, the answer and an unsaved correction, so that nothing typed is lost.
//
// A record has an id, which is in the address of the page: reload, back, forward and a second tab show the same record.
// {id, text, answer: {text, model, version, answers, words, correction}, edit: {...}, origin: {href, name}, updated}

const PREFIX = "rp:review:";
const MAX_RECORDS = 300;
const DAY = 24 * 3600 * 1000;
const memory = new Map(); // where the browser gives no storage, or it is full

export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("");

export const hasUnsavedEdit = (record) => Boolean(record.edit && (record.edit.changed || record.edit.waiting || record.edit.conflict));
export const hasUnparsedText = (record) => Boolean(record.text.trim() && record.text !== record.answer?.text);
const isUnfinished = (record) => hasUnsavedEdit(record) || hasUnparsedText(record);

const keys = () => {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
  } catch {
    return [];
  }
};

const read = (key) => {
  try {
    return JSON.parse(memory.get(key) ?? localStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
};

export const get = (id) => read(PREFIX + id);

export const put = (record) => {
  const key = PREFIX + record.id;
  record.updated = Date.now();
  const value = JSON.stringify(record);
  try {
    localStorage.setItem(key, value);
    memory.delete(key);
  } catch {
    prune(0);
    try {
      localStorage.setItem(key, value);
      memory.delete(key);
    } catch {
      memory.set(key, value);
    }
  }
};

export const remove = (id) => {
  memory.delete(PREFIX + id);
  try {
    localStorage.removeItem(PREFIX + id);
  } catch {
    // Without storage there is nothing to remove.
  }
};

export const all = () => [...new Set([...keys(), ...memory.keys()])].map(read).filter(Boolean).sort((a, b) => b.updated - a.updated);

export const unfinished = () => all().filter(isUnfinished);

// Delete finished records that are old or too many; unfinished ones stay.
export const prune = (limit = MAX_RECORDS) => {
  const finished = all().filter((record) => !isUnfinished(record));
  finished.filter((record, index) => index >= limit || record.updated < Date.now() - DAY).forEach((record) => remove(record.id));
};

// Call back with the id when another tab changes a record.
export const onChange = (callback) => {
  window.addEventListener("storage", (event) => {
    if (event.key?.startsWith(PREFIX)) callback(event.key.slice(PREFIX.length));
  });
};

// A small value that outlives the page, such as the author's name.
export const setting = (name, value) => {
  try {
    if (value === undefined) return JSON.parse(localStorage.getItem(`rp:setting:${name}`) ?? "null");
    localStorage.setItem(`rp:setting:${name}`, JSON.stringify(value));
  } catch {
    // Without storage the default is used each time.
  }
  return value ?? null;
};

window.addEventListener("beforeunload", (event) => {
  if ([...memory.keys()].map(read).some((record) => record && isUnfinished(record))) event.preventDefault();
});
