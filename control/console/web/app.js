// The console's shell: who is logged in, where one is, what control says of itself. Views are in `views/`.
import { render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { expired, link, logIn, logOut, may, session, stillIn, whoAmI } from './lib/api.js';
import { follow as followEvents } from './lib/events.js';
import { html } from './lib/html.js';
import { follow as followLive } from './lib/live.js';
import { LANGUAGES, choose, language, ready, t } from './lib/text.js';
import { Act, Dialog, Field, Why } from './lib/ui.js';
import { useBack } from './lib/use.js';
import { remembered, useValue, value } from './lib/value.js';
import { Access } from './views/access.js';
import { Hook } from './views/hook.js';
import { Hooks } from './views/hooks.js';
import { Live } from './views/live.js';
import { Recordings } from './views/recordings.js';
import { Server } from './views/server.js';
import { Stream } from './views/stream.js';
import { Streams } from './views/streams.js';
import { Webhooks } from './views/webhooks.js';

const VIEWS = {
  live: { view: Live },
  streams: { view: Streams, one: Stream },
  recordings: { view: Recordings },
  hooks: { view: Hooks, one: Hook },
  webhooks: { view: Webhooks, needs: 'admin' },
  server: { view: Server },
  access: { view: Access, needs: 'admin' },
};
const PING_MS = 2000;
const BACK_MS = 5000;

const theme = remembered('millstream.theme', 'system');

function dress(chosen) {
  if (chosen === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}
dress(theme.get());
theme.follow(dress);

// `#/streams/ID/settings` is the path of a view.
const where = value([]);
function read() {
  const parts = location.hash.replace(/^#\/?/, '').split('/').filter(Boolean);
  try {
    where.set(parts.map(decodeURIComponent));
  } catch {
    where.set([]);
  }
}
window.addEventListener('hashchange', read);
read();

function LogIn({ again = false, done, leave }) {
  const [token, set] = useState('');
  const [state, say] = useState({ busy: false, problem: null });
  const input = useRef(null);
  useEffect(() => { input.current?.focus(); }, []);
  const submit = async (event) => {
    event.preventDefault();
    say({ busy: true, problem: null });
    try {
      await logIn(token.trim());
      done?.();
    } catch (problem) {
      say({ busy: false, problem });
    }
  };
  return html`<form class="login" onSubmit=${submit}>
    ${again && html`<p>${t('login_over')}</p>`}
    <${Field} label=${t('token')} hint=${t('token_hint')}>${(field) => html`<input ...${field} ref=${input} type="password" name="token" autocomplete="current-password"
      spellcheck="false" required value=${token} onInput=${(event) => set(event.target.value)} />`}<//>
    <${Why} problem=${state.problem} />
    <button class="primary" disabled=${state.busy || !token.trim()}>${t('log_in')}</button>
    ${again && html`<button type="button" onClick=${leave}>${t('log_out')}</button>`}
  </form>`;
}

function Taste() {
  const tongue = useValue(language);
  const light = useValue(theme);
  return html`<div class="taste">
    <select aria-label=${t('language')} value=${tongue} onChange=${(event) => choose(event.target.value)}>
      ${Object.entries(LANGUAGES).map(([tag, name]) => html`<option value=${tag} lang=${tag}>${name}</option>`)}
    </select>
    <select aria-label=${t('theme')} value=${light} onChange=${(event) => theme.set(event.target.value)}>
      ${['system', 'light', 'dark'].map((one) => html`<option value=${one}>${t(`theme_${one}`)}</option>`)}
    </select>
  </div>`;
}

// Asks whether control is there again, and whether it is still the release that this page is of.
function useLink() {
  const state = useValue(link);
  const [news, tell] = useState('');
  useEffect(() => {
    let timer = 0;
    if (state === 'down') {
      tell('down');
      timer = setInterval(() => {
        fetch('/healthz', { cache: 'no-store' }).then((answer) => { if (answer.ok) link.set('up'); }, () => { /* Not yet. */ });
      }, PING_MS);
    } else if (news) {
      fetch('/', { cache: 'no-store' }).then((answer) => answer.text()).then((page) => {
        const same = page.includes(new URL(import.meta.url).pathname);
        tell(same ? 'back' : 'stale');
        if (same) timer = setTimeout(() => tell(''), BACK_MS);
      }, () => link.set('down'));
    }
    return () => clearInterval(timer);
  }, [state]);
  return news;
}

function Link() {
  const news = useLink();
  return html`<div class=${`link ${news}`} role="status">
    ${news && html`<span>${t(`link_${news}`)}</span>`}
    ${news === 'stale' && html`<button type="button" class="small" onClick=${() => location.reload()}>${t('reload')}</button>`}
  </div>`;
}

function Shell() {
  const who = useValue(session);
  const over = useValue(expired);
  const path = useValue(where);
  const main = useRef(null);
  useValue(language);
  const name = path[0] in VIEWS ? path[0] : 'live';
  const { view, one } = VIEWS[name];
  // A new view begins at its heading, for readers and for the tabulator. The first one leaves the focus to the page.
  const first = useRef(true);
  useEffect(() => {
    document.title = `${path[1] ? `${path[1]} · ` : ''}${t(`view_${name}`)} · Millstream`;
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
    window.scrollTo(0, 0);
  }, [name, path[1]]);
  useEffect(() => { document.querySelector('aside nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' }); }, [name]);
  const shown = Object.entries(VIEWS).filter(([, { needs }]) => !needs || may(needs));
  const View = path[1] && one ? one : view;
  const leave = () => {
    over.reject(new Error(t('logged_out')));
    session.set(false);
  };
  return html`<div class="shell">
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>${t('skip')}</a>
    <aside>
      <a class="brand" href="#/live"><span class="mark" aria-hidden="true"></span>Millstream</a>
      <nav aria-label=${t('views')}>${shown.map(([key]) => html`<a href=${`#/${key}`} aria-current=${key === name ? 'page' : undefined}>${t(`view_${key}`)}</a>`)}</nav>
      <div class="foot">
        <${Taste} />
        <p class="who"><span title=${who.who}>${who.who}</span> <span class="tag">${t(`role_${who.role}`)}</span></p>
        <p class="row"><a href="/api/v1/docs">API</a><${Act} small does=${logOut}>${t('log_out')}<//></p>
      </div>
    </aside>
    <main id="main" tabindex="-1" ref=${main}>
      <${Link} />
      <${View} key=${`${name}/${path[1] ?? ''}`} id=${path[1]} part=${path[2]} />
    </main>
    ${over && html`<${Dialog} title=${t('log_in')} ><${LogIn} again done=${over.resolve} leave=${leave} /><//>`}
  </div>`;
}

function Console() {
  const who = useValue(session);
  const [problem, fail] = useState(null);
  useValue(language);
  const begin = () => {
    fail(null);
    whoAmI().catch(fail);
  };
  useEffect(begin, []);
  useBack(problem, begin);
  if (problem) return html`<div class="gate"><${Link} /><h1>Millstream</h1><${Why} problem=${problem.status === 0 ? null : problem} /><button type="button" onClick=${begin}>${t('try_again')}</button></div>`;
  if (who === null) return null;
  if (who === false) return html`<main class="gate"><span class="mark" aria-hidden="true"></span><h1>Millstream</h1><${LogIn} /><${Taste} /></main>`;
  return html`<${Shell} />`;
}

// Another tab may have logged in or out meanwhile. Who is logged in here is asked as by any request: what was typed stays.
document.addEventListener('visibilitychange', () => {
  if (document.hidden || session.get() === null) return;
  (session.get() ? stillIn() : whoAmI()).catch(() => { /* It is said by the next request. */ });
});

await ready;
followEvents();
followLive();
render(html`<${Console} />`, document.getElementById('console'));
