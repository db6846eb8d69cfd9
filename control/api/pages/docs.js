// The API's own page: every operation of openapi.json, with its parameters, and a way to try it. Text is only ever set as text.
'use strict';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
// What is shown of an answer: a page of it.
const ANSWER_CHARS_MAX = 100000;

const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

// What stands between backticks is code.
const prose = (text) => (text || '').split('`').map((part, n) => (n % 2 ? make('code', { textContent: part }) : part));

let api;

const resolve = (schema) => {
  for (let depth = 0; schema && schema.$ref && depth < 8; depth += 1) {
    schema = schema.$ref.slice(2).split('/').reduce((at, key) => at && at[key], api);
  }
  return schema || {};
};

const kind = (schema) => {
  if (!schema) return '';
  if (schema.$ref) return schema.$ref.split('/').pop();
  const types = [].concat(schema.type || []);
  if (types.includes('array')) return `list of ${kind(schema.items) || 'anything'}`;
  const any = (schema.oneOf || schema.anyOf || schema.allOf || []).map(kind).filter(Boolean);
  const words = types.concat(any).join(' or ');
  return schema.enum ? schema.enum.map((word) => JSON.stringify(word)).join(', ') : words;
};

// What a body may look like.
const example = (schema, depth = 0) => {
  const of = resolve(schema);
  if (of.example !== undefined) return of.example;
  if (of.examples && of.examples.length) return of.examples[0];
  if (of.default !== undefined && of.default !== null) return of.default;
  const types = [].concat(of.type || []);
  if (types.includes('object') || of.properties) {
    const out = {};
    if (depth > 2) return out;
    for (const name of of.required || []) out[name] = example((of.properties || {})[name], depth + 1);
    return out;
  }
  if (of.enum) return of.enum[0];
  if (types.includes('array')) return [];
  if (types.includes('integer') || types.includes('number')) return of.minimum || 0;
  if (types.includes('boolean')) return false;
  return types.includes('string') ? '' : null;
};

const properties = (schema) => {
  const of = resolve(schema);
  const rows = Object.entries(of.properties || {}).map(([name, value]) => make('tr', {},
    make('td', {}, make('code', { textContent: name }), (of.required || []).includes(name) ? ' *' : ''),
    make('td', { textContent: kind(value), className: 'quiet' }),
    make('td', {}, ...prose(value.description))));
  return rows.length ? make('table', {}, ...rows) : null;
};

const send = async (method, path, operation, fields, body, out) => {
  let url = path;
  const query = new URLSearchParams();
  const headers = {};
  for (const { parameter, input } of fields) {
    if (parameter.in === 'path') url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value !== '' && parameter.in === 'query') query.set(parameter.name, input.value);
    else if (input.value !== '' && parameter.in === 'header') headers[parameter.name] = input.value;
  }
  if ([...query].length) url += `?${query}`;
  const token = document.getElementById('token').value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  const request = { method: method.toUpperCase(), headers, credentials: 'omit' };
  if (body && body.value.trim()) {
    headers['Content-Type'] = 'application/json';
    request.body = body.value;
  }
  out.hidden = false;
  out.textContent = '...';
  const leave = new AbortController();
  request.signal = leave.signal;
  try {
    const answer = await fetch(url, request);
    let text = '';
    const show = () => {
      const tag = answer.headers.get('etag');
      out.textContent = `${request.method} ${url}\n${answer.status} ${answer.statusText}${tag ? `\nETag: ${tag}` : ''}\n\n${text}`;
    };
    show();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    // Events have no end: they are shown as they come.
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      text += piece.value;
      if (text.length > ANSWER_CHARS_MAX) {
        text = `${text.slice(0, ANSWER_CHARS_MAX)}\n(cut)`;
        leave.abort();
        break;
      }
      show();
    }
    try {
      text = JSON.stringify(JSON.parse(text), null, 2);
    } catch { /* It is shown as it is. */ }
    show();
  } catch (error) {
    out.textContent = `no answer: ${error.message}`;
  }
};

const tryIt = (method, path, operation, parameters) => {
  const fields = parameters.map((parameter) => ({ parameter, input: make('input', { spellcheck: false }) }));
  for (const { parameter, input } of fields) {
    if (parameter.in === 'header' && parameter.name.toLowerCase() === 'if-match') input.value = '*';
    input.placeholder = String(parameter.example ?? (parameter.schema || {}).example ?? '');
  }
  const content = (operation.requestBody || {}).content || {};
  const json = content['application/json'];
  const body = json ? make('textarea', { value: JSON.stringify(example(json.schema), null, 2), spellcheck: false }) : null;
  const out = make('pre', { hidden: true });
  const button = make('button', { type: 'button', textContent: 'Send' });
  button.addEventListener('click', () => send(method, path, operation, fields, body, out));
  const rows = fields.map(({ parameter, input }) => make('tr', {},
    make('td', {}, make('label', {}, make('code', { textContent: parameter.name }), parameter.required ? ' *' : '')),
    make('td', {}, input),
    make('td', { className: 'quiet' }, ...prose([parameter.in, kind(parameter.schema), parameter.description].filter(Boolean).join('; ')))));
  const other = Object.keys(content).filter((type) => type !== 'application/json');
  return make('div', {},
    rows.length ? make('table', {}, ...rows) : null,
    json ? properties(json.schema) : null,
    body,
    other.length ? make('p', { className: 'quiet', textContent: `Body: ${other.join(', ')}; send it with curl.` }) : null,
    make('p', {}, button), out);
};

const show = (method, path, operation, shared) => {
  const parameters = (shared || []).concat(operation.parameters || []).map(resolve);
  const inside = make('div', { className: 'inside' });
  const details = make('details', { id: operation.operationId || '' },
    make('summary', {},
      make('span', { className: `method ${method}`, textContent: method.toUpperCase() }),
      make('code', { textContent: path }), ` ${operation.summary || ''}`),
    inside);
  details.dataset.text = [method, path, operation.summary, operation.description, ...(operation.tags || [])].join(' ').toLowerCase();
  // Made when it is opened: there are some hundred.
  details.addEventListener('toggle', () => {
    if (!details.open || inside.childElementCount) return;
    const answers = Object.entries(operation.responses || {}).map(([status, answer]) => {
      const of = resolve(answer);
      const schemas = Object.values(of.content || {}).map((content) => kind(content.schema)).filter(Boolean);
      return make('tr', {}, make('td', {}, make('code', { textContent: status })),
        make('td', {}, ...prose(of.description)), make('td', { className: 'quiet', textContent: schemas.join(', ') }));
    });
    inside.append(
      make('p', {}, ...prose(operation.description)),
      tryIt(method, path, operation, parameters),
      make('table', {}, ...answers));
  });
  return details;
};

const start = async () => {
  const main = document.getElementById('operations');
  try {
    api = await (await fetch('openapi.json', { credentials: 'omit' })).json();
  } catch (error) {
    main.replaceChildren(make('p', { textContent: `The description cannot be loaded: ${error.message}` }));
    return;
  }
  document.getElementById('about').replaceChildren(...prose(api.info.description));
  const tags = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ['other'])[0];
      if (!tags.has(tag)) tags.set(tag, []);
      tags.get(tag).push(show(method, path, item[method], item.parameters));
    }
  }
  const sections = [...tags].map(([tag, operations]) => make('section', {}, make('h2', { textContent: tag }), ...operations));
  main.replaceChildren(...sections);
  document.getElementById('find').addEventListener('input', (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const section of sections) {
      const all = [...section.querySelectorAll('details')];
      for (const details of all) details.hidden = !words.every((word) => details.dataset.text.includes(word));
      section.hidden = all.every((details) => details.hidden);
    }
  });
};

start();
