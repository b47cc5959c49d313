// Requests to the service that sent this page. The cookie of the session goes with them; the page never sees a token again.

class ServiceError extends Error {
  constructor(problem, isSessionEnd = false) {
    super(problem.detail);
    this.status = problem.status;
    this.parameter = problem.parameter ?? null;
    this.isSessionEnd = isSessionEnd;
  }
}

// The answer as JSON (null for an empty one). `json` is a body to send as JSON, `file` one to send as it is.
async function ask(method, path, { json = null, file = null, signal = null } = {}) {
  const headers = { Accept: "application/json", "X-Sal-Request": "1" };
  if (json !== null) headers["Content-Type"] = "application/json";
  else if (file !== null) headers["Content-Type"] = file.type || "application/octet-stream";
  const body = json === null ? file : JSON.stringify(json);
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, signal, credentials: "same-origin", redirect: "error", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError({ status: 0, detail: "The service does not answer. Check that it runs and that this machine reaches it." });
  }
  if (answer.status === 204) return null;
  if (answer.ok) return answer.json();
  const problem = await problemOf(answer);
  const isSessionEnd = answer.status === 401 && app.session !== null;
  if (isSessionEnd) leave("Your session has ended. Sign in again.");
  throw new ServiceError(problem, isSessionEnd);
}

async function problemOf(answer) {
  const problem = await answer.json().catch(() => ({}));
  const detail = typeof problem.detail === "string" ? problem.detail : `The service answered ${answer.status} ${answer.statusText}.`;
  const wait = answer.headers.get("Retry-After");
  return { ...problem, status: answer.status, detail: wait === null ? detail : `${detail} Try again in ${wait} s.` };
}

const ofGallery = (rest) => `/v1/galleries/${encodeURIComponent(app.gallery)}/${rest}`;
