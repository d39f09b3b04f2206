// Requests to the server of the page.

export class ApiError extends Error {
  constructor(message, status, body = {}, retryAfter = 0) {
    super(message);
    this.status = status;
    this.body = body;
    this.retryAfter = retryAfter;
  }

  // The same request may succeed later.
  get isTemporary() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export const request = async (path, { method = "GET", json, body, signal } = {}) => {
  const options = { method, signal, body, cache: "no-store" };
  if (json !== undefined) Object.assign(options, { body: JSON.stringify(json), headers: { "Content-Type": "application/json" } });
  let response;
  let content;
  try {
    response = await fetch(path, options);
    content = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const message = response ? `the page's server answers ${response.status}` : "the page's server does not answer: check the connection";
    throw new ApiError(message, response && !response.ok ? response.status : 0);
  }
  if (!response.ok) {
    throw new ApiError(content.error ?? `the page's server answers ${response.status}`, response.status, content, Number(response.headers.get("Retry-After")) || 0);
  }
  return content;
};

let model = null;

// The served models, the taxonomy and the limits of the page; asked again with `refresh`. The event `rp-model` tells of
// each answer.
export const describeModel = (refresh = false) => {
  if (!model || refresh) {
    model = request("/api/model");
    model.then(() => document.dispatchEvent(new Event("rp-model")), () => { model = null; });
  }
  return model;
};
