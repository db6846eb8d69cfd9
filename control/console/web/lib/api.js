// Requests to the API with the login's cookie. An answer that refuses becomes a `Problem`; a login that is over asks for a token and goes on,
// so that nobody loses what they have typed; no answer at all is told to `link`.
import { t } from './text.js';
import { value } from './value.js';

// Who is logged in: `null` until that is known, `false` where nobody is.
export const session = value(null);
// The login is over while something was being done: the shell asks for a token. Holds the functions that go on or give up.
export const expired = value(null);
// Whether control answers.
export const link = value('up');

export class Problem extends Error {
  constructor({ status = 0, type = '', detail = '', errors = [], retryS = 0 }) {
    super(detail);
    Object.assign(this, { status, kind: type.split(':').pop(), errors, retryS });
  }

  // What the API says of one field.
  of(field) {
    return this.errors.filter((one) => one.field === field || one.field === `settings.${field}`).map((one) => one.message).join('; ');
  }
}

let csrf = '';

async function problemOf(answer) {
  const retryS = Number(answer.headers.get('retry-after')) || 0;
  const told = await answer.json().catch(() => ({}));
  return new Problem({ detail: t('no_reason', { status: answer.status }), ...told, status: answer.status, retryS });
}

async function send(method, path, { json, body, type, etag, key, headers = {}, signal }) {
  const all = { ...headers };
  if (json !== undefined) all['Content-Type'] = 'application/json';
  if (type) all['Content-Type'] = type;
  if (etag) all['If-Match'] = etag;
  if (key) all['Idempotency-Key'] = key;
  if (method !== 'GET') all['X-CSRF-Token'] = csrf;
  try {
    const answer = await fetch(path, { method, headers: all, body: json === undefined ? body : JSON.stringify(json), signal });
    if (link.get() === 'down') link.set('up');
    return answer;
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    link.set('down');
    throw new Problem({ detail: t('no_answer') });
  }
}

let asking = null;

// One question for all requests that find the login over at the same time.
function again() {
  asking ??= new Promise((resolve, reject) => expired.set({ resolve, reject })).finally(() => {
    asking = null;
    expired.set(null);
  });
  return asking;
}

function took(login) {
  csrf = login.csrf ?? '';
  const before = session.get();
  // The same person again changes nothing that is shown.
  if (!before || before.who !== login.who || before.role !== login.role) session.set(login);
  expired.get()?.resolve();
}

// The answer as it came, where it is a good one.
export async function request(method, path, options = {}) {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await send(method, `/api/v1/${path}`, options);
    if (answer.ok) return answer;
    const problem = await problemOf(answer);
    if (answer.status === 401 && session.get() && attempt < 3) {
      await again();
    } else if (problem.kind === 'csrf' && attempt === 0) {
      // Another tab has logged in since: the cookie is its login's.
      await whoAmI();
    } else {
      throw problem;
    }
  }
}

// What the answer says, with its ETag where it has one.
export async function call(method, path, options) {
  const answer = await request(method, path, options);
  if (answer.status === 204) return null;
  const said = await answer.json();
  const etag = answer.headers.get('etag');
  return etag && said && typeof said === 'object' ? { ...said, etag } : said;
}

export const get = (path, options) => call('GET', path, options);

export async function whoAmI() {
  const answer = await send('GET', '/api/v1/login', {});
  if (answer.status === 401) {
    session.set(false);
    return;
  }
  if (!answer.ok) throw await problemOf(answer);
  took(await answer.json());
}

// Asks again for who is logged in; a login that is over asks for a token.
export async function stillIn() {
  const answer = await send('GET', '/api/v1/login', {});
  if (answer.ok) took(await answer.json());
  else if (answer.status === 401 && !expired.get()) await again();
}

export async function logIn(token) {
  const answer = await send('POST', '/api/v1/login', { json: { token } });
  if (!answer.ok) throw await problemOf(answer);
  took(await answer.json());
}

export async function logOut() {
  await send('DELETE', '/api/v1/login', {});
  csrf = '';
  session.set(false);
}

const RANKS = ['viewer', 'operator', 'admin'];

// Whether who is logged in may do what needs this role. The API decides; this is for not offering what it would refuse.
export const may = (role) => RANKS.indexOf(session.get()?.role) >= RANKS.indexOf(role);

// A name in a path.
export const seg = encodeURIComponent;

// Parameters, without those that are not given.
export function query(given) {
  const set = Object.entries(given).filter(([, one]) => one !== undefined && one !== null && one !== '');
  return set.length ? `?${new URLSearchParams(set)}` : '';
}

// A name for one try of a person to make something: sent again after a lost answer, it is made once.
export const once = () => crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
