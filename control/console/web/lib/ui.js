// Parts that views are made of: buttons that say why they failed, fields, dialogs, what can be copied.
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { may } from './api.js';
import { clock, date } from './format.js';
import { html } from './html.js';
import { t } from './text.js';

// Why something was refused or failed, where it happened. Parts that a field shows itself are left to it.
export function Why({ problem, shown = [] }) {
  if (!problem) return null;
  const rest = (problem.errors ?? []).filter((one) => !shown.includes(one.field.replace(/^settings\./, '')));
  const one = problem.errors?.length === 1 && !rest.length ? t('see_field') : problem.message;
  return html`<div class="why" role="alert">
    <p>${one}</p>
    ${rest.length > 1 && html`<ul>${rest.map((part) => html`<li><b>${part.field}</b>: ${part.message}</li>`)}</ul>`}
    ${problem.retryS ? html`<p>${t('retry_in', { s: problem.retryS })}</p>` : null}
  </div>`;
}

// A button that does something which may fail. `needs` is the role; who has less sees it disabled, with the reason. `ask` is the question before.
export function Act({ children, does, ask = null, word = null, needs = null, kind = '', small = false, disabled = false, title, label }) {
  const [state, set] = useState({ busy: false, problem: null, open: false });
  const allowed = !needs || may(needs);
  const alive = useRef(true);
  useEffect(() => () => { alive.current = false; }, []);
  const run = async () => {
    set({ busy: true, problem: null, open: state.open });
    let problem = null;
    try {
      await does();
    } catch (failed) {
      problem = failed;
    }
    if (alive.current) set({ busy: false, problem, open: Boolean(problem) && ask !== null });
  };
  const press = () => (ask ? set({ busy: false, problem: null, open: true }) : run());
  const why = allowed ? title : t('needs_role', { role: t(`role_${needs}`) });
  return html`<span class="act">
    <button type="button" class=${`${kind} ${small ? 'small' : ''}`} onClick=${press} disabled=${disabled || !allowed || state.busy}
      title=${why} aria-label=${label} aria-busy=${state.busy}>${children}</button>
    ${!ask && html`<${Why} problem=${state.problem} />`}
    ${ask && state.open && html`<${Dialog} title=${ask.title} close=${() => set({ busy: false, problem: null, open: false })}>
      <p>${ask.text}</p>
      ${ask.more}
      <${Why} problem=${state.problem} />
      <div class="row end">
        <button type="button" onClick=${() => set({ busy: false, problem: null, open: false })}>${t('cancel')}</button>
        <button type="button" class=${kind || 'primary'} disabled=${state.busy} onClick=${run}>${word ?? children}</button>
      </div>
    <//>`}
  </span>`;
}

// A dialog over the page; Escape closes it, and the focus goes back to where it was.
export function Dialog({ title, close, children, wide = false }) {
  const box = useRef(null);
  const id = useId();
  const over = useRef(false);
  useEffect(() => {
    const before = document.activeElement;
    const dialog = box.current;
    dialog.showModal();
    return () => {
      // While it is open nothing behind it takes the focus.
      over.current = true;
      dialog.close();
      before?.focus?.();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    close?.();
  };
  // A browser closes it at the second Escape in any case; what has no way out is shown again.
  const closed = () => {
    if (over.current) return;
    if (close) close();
    else box.current?.showModal();
  };
  return html`<dialog ref=${box} class=${wide ? 'wide' : ''} aria-labelledby=${id} onCancel=${cancel} onClose=${closed}>
    <header><h2 id=${id}>${title}</h2>
      ${close && html`<button type="button" class="quiet" aria-label=${t('close')} onClick=${close}>×</button>`}
    </header>
    ${children}
  </dialog>`;
}

// A labelled input with its hint and what is wrong with it.
export function Field({ label, hint, wrong, children, mark }) {
  const id = useId();
  const about = [hint && `${id}h`, wrong && `${id}w`].filter(Boolean).join(' ') || undefined;
  return html`<div class=${`field ${wrong ? 'wrong' : ''}`}>
    <label for=${id}>${label}${mark}</label>
    ${children({ id, 'aria-describedby': about, 'aria-invalid': wrong ? 'true' : undefined })}
    ${hint && html`<small id=${`${id}h`}>${hint}</small>`}
    ${wrong && html`<small id=${`${id}w`} class="bad" role="alert">${wrong}</small>`}
  </div>`;
}

async function toClipboard(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Without TLS browsers have no clipboard for pages, but copy what is selected.
  const area = Object.assign(document.createElement('textarea'), { value: text, className: 'outside' });
  (document.querySelector('dialog[open]') ?? document.body).append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error(t('copy_failed'));
}

export function Copy({ text, what }) {
  const [said, say] = useState('');
  const copy = async () => {
    try {
      await toClipboard(text);
      say(t('copied'));
    } catch {
      say(t('copy_failed'));
    }
    setTimeout(() => say(''), 2000);
  };
  return html`<span class="copy"><button type="button" class="small" onClick=${copy} aria-label=${t('copy_what', { what })}>${t('copy')}</button>
    <span role="status">${said}</span></span>`;
}

// A line of text to take away. A secret is dots until somebody asks to see it.
export function Line({ label, text, secret = false, more = null }) {
  const [open, show] = useState(!secret);
  return html`<div class="line">
    <span class="label">${label}</span>
    <code class=${open ? '' : 'masked'} data-line=${label}>${open ? text : '••••••••••••••••'}</code>
    <span class="row">
      ${secret && html`<button type="button" class="small" aria-pressed=${open} aria-label=${`${open ? t('hide') : t('show')}: ${label}`}
        onClick=${() => show(!open)}>${open ? t('hide') : t('show')}</button>`}
      <${Copy} text=${text} what=${label} />
      ${more}
    </span>
  </div>`;
}

export function Time({ ms, short = false }) {
  if (!ms) return html`<span class="quiet">–</span>`;
  return html`<time datetime=${new Date(ms).toISOString()} title=${date(ms)}>${short ? clock(ms) : date(ms)}</time>`;
}

export const Tag = ({ kind = '', children, title }) => html`<span class=${`tag ${kind}`} title=${title}>${children}</span>`;

// What is there while nothing else is: that it is asked for, that it failed, or that there is nothing.
export function Rest({ of, empty, count }) {
  if (of.problem) return html`<div><${Why} problem=${of.problem} /><button type="button" onClick=${of.again}>${t('try_again')}</button></div>`;
  if (of.busy && !count) return html`<p class="quiet" role="status">${t('loading')}</p>`;
  if (!of.busy && !count && empty) return html`<div class="empty">${empty}</div>`;
  return null;
}

// The end of a list in pages.
export function More({ list }) {
  if (!list.next && !list.busy) return null;
  return html`<p class="row center"><button type="button" disabled=${list.busy} onClick=${list.more}>${list.busy ? t('loading') : t('more')}</button></p>`;
}

// A table that becomes a list of cards on a phone: each cell knows its heading. `columns`: key, heading, cell.
export function Table({ caption, columns, rows, name, mark }) {
  return html`<div class="table"><table>
    <caption class="outside">${caption}</caption>
    <thead><tr>${columns.map(([key, heading]) => html`<th scope="col" key=${key}>${heading || html`<span class="outside">${t('actions')}</span>`}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${name(row)} class=${mark?.(row) ?? ''}>
      ${columns.map(([key, heading, cell]) => html`<td key=${key} data-heading=${heading}><div>${cell(row)}</div></td>`)}
    </tr>`)}</tbody>
  </table></div>`;
}
