// On air: what is live now with a moving preview, how it arrives, and events as they happen.
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, get, seg, session } from '../lib/api.js';
import { Chart } from '../lib/chart.js';
import { bits, codec, lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { again, live as onAir, watch } from '../lib/live.js';
import { Preview } from '../lib/preview.js';
import { useSamples, viewersOf } from '../lib/samples.js';
import { t } from '../lib/text.js';
import { Act, Rest, Tag } from '../lib/ui.js';
import { useAsked } from '../lib/use.js';
import { remembered, useValue } from '../lib/value.js';
import { Mark } from './diagnosis.js';
import { Events } from './events.js';

const SHOWN = 24;
const KNOWN_MS = 20000;
const WALL_MAX = 25;
// Who asks for less motion gets moving pictures when they ask for them.
const moving = remembered('millstream.previews', matchMedia('(prefers-reduced-motion: reduce)').matches ? 'off' : 'on');

// What the cards ask once of a stream: its name.
const known = new Map();
// The names of those that were shown, for the search.
const names = new Map();
session.follow((now) => {
  if (now) return;
  known.clear();
  names.clear();
});
export async function about(id) {
  if (!known.has(id)) {
    known.set(id, get(`streams/${seg(id)}`).then((stream) => {
      names.set(id, stream.settings.videoname);
      return stream;
    }, () => null));
    // A name may change, and a failure may pass.
    setTimeout(() => known.delete(id), KNOWN_MS);
  }
  return { stream: await known.get(id) };
}

export const kick = (id) => call('DELETE', `streams/${seg(id)}/session`);

export function stateOf(live) {
  if (live.slate_since_unix_ms) return 'slate';
  return live.publisher ? 'live' : 'waiting';
}

function Card({ live, previews }) {
  const [info, tell] = useState(null);
  const [shown, show] = useState(false);
  const box = useRef(null);
  useEffect(() => {
    let open = true;
    let seen = false;
    const ask = () => { if (seen && !document.hidden) about(live.id).then((said) => { if (open) tell(said); }); };
    const observer = new IntersectionObserver((entries) => {
      seen = entries.at(-1).isIntersecting;
      show(seen);
      ask();
    }, { rootMargin: '200px' });
    observer.observe(box.current);
    const timer = setInterval(ask, KNOWN_MS);
    return () => {
      open = false;
      clearInterval(timer);
      observer.disconnect();
    };
  }, [live.id]);
  const { publisher } = live;
  const name = info?.stream?.settings.videoname || live.id;
  const state = stateOf(live);
  const samples = useSamples(live.id, live.node, shown && Boolean(publisher));
  const video = publisher?.video;
  return html`<article class="card" ref=${box} aria-label=${name} data-stream=${live.id}>
    <div class="picture">
      <a href=${`#/streams/${seg(live.id)}`} tabindex="-1" aria-hidden="true">${previews && state !== 'waiting' ? html`<${Preview} stream=${live.id} node=${live.node} name=${name} />` : html`<div class="preview"><span class="over">${previews ? state === 'waiting' ? t('preview_nobody') : '' : t('previews_off')}</span></div>`}</a>
      <${Tag} kind=${state}>${t(`state_${state}`)}<//>
    </div>
    <div class="body">
      <h3><a href=${`#/streams/${seg(live.id)}`} dir="auto">${name}</a></h3>
      ${name !== live.id && html`<p class="id">${live.id}</p>`}
      <dl class="facts">
        <div><dt>${t('viewers')}</dt><dd>${number(viewersOf(live))}</dd></div>
        <div><dt>${t('bitrate')}</dt><dd>${bits(publisher?.bitrate_bps)}</dd></div>
        <div><dt>${t('since')}</dt><dd>${publisher ? lasting(Date.now() - publisher.since_unix_ms) : '–'}</dd></div>
        <div><dt>${t('picture')}</dt><dd>${video ? `${video.height ? `${video.height}p` : ''} ${number(video.fps)} fps ${codec(video.codec)}` : '–'}</dd></div>
      </dl>
      <${Chart} at=${samples.at} values=${samples.bitrate} show=${bits} label=${t('bitrate')} height=${32} />
      <footer><${Mark} live=${live} />
        ${publisher && html`<${Act} small kind="danger" needs="operator" does=${() => kick(live.id)} ask=${{ title: t('kick_what', { what: name }), text: t('kick_text') }}
          label=${t('kick_what', { what: name })}>${t('kick')}<//>`}
      </footer>
    </div>
  </article>`;
}

// The node's page with many streams; of the first node that has some.
function Wall({ items }) {
  const nodes = useAsked('nodes');
  const first = items.find((live) => live.publisher)?.node;
  const url = nodes.data?.items.find((node) => node.name === first)?.http_url;
  const ids = items.filter((live) => live.publisher && live.node === first).slice(0, WALL_MAX).map((live) => live.id);
  if (!url || ids.length < 2) return null;
  return html`<a class="button" href=${`${url}/wall.html?streams=${ids.map(seg).join(',')}`} target="_blank" rel="noopener noreferrer" title=${t('wall_text', { count: ids.length })}>${t('wall')}</a>`;
}

export function Live() {
  const asked = { ...useValue(onAir), again };
  const [find, look] = useState('');
  const [most, show] = useState(SHOWN);
  const previews = useValue(moving) === 'on';
  useEffect(() => watch(), []);
  const items = asked.data?.items ?? [];
  const word = find.trim().toLowerCase();
  const wanted = items.filter((live) => live.id.toLowerCase().includes(word) || names.get(live.id)?.toLowerCase().includes(word));
  const sum = (of) => items.reduce((all, live) => all + of(live), 0);
  return html`<header class="title"><h1>${t('view_live')}</h1>
      <div class="row">
        <input type="search" aria-label=${t('find_live')} placeholder=${t('find_live')} value=${find} onInput=${(event) => look(event.target.value)} />
        <${Wall} items=${items} />
        <label class="check"><input type="checkbox" checked=${previews} onChange=${(event) => moving.set(event.target.checked ? 'on' : 'off')} />${t('previews')}</label>
      </div>
    </header>
    <dl class="sums">
      <div><dt>${t('on_air')}</dt><dd>${number(items.filter((live) => live.publisher).length)}${asked.data?.next ? '+' : ''}</dd></div>
      <div><dt>${t('viewers')}</dt><dd>${number(sum(viewersOf))}</dd></div>
      <div><dt>${t('arrives')}</dt><dd>${bits(sum((live) => live.publisher?.bitrate_bps ?? 0))}</dd></div>
    </dl>
    <div class="split">
      <section aria-labelledby="on-air"><h2 id="on-air" class="outside">${t('streams_on_air')}</h2>
        <${Rest} of=${asked} count=${items.length} empty=${html`<h2>${t('nothing_on_air')}</h2><p>${t('nothing_on_air_text')}</p>
          <p><a class="button primary" href="#/streams">${t('view_streams')}</a></p>`} />
        <div class="cards">${wanted.slice(0, most).map((live) => html`<${Card} key=${`${live.id}/${live.node}`} live=${live} previews=${previews} />`)}</div>
        ${items.length > 0 && wanted.length === 0 && html`<p class="quiet">${t('nothing_found')}</p>`}
        ${wanted.length > most && html`<p class="row center"><button type="button" onClick=${() => show(most + SHOWN)}>${t('more')}</button></p>`}
      </section>
      <${Events} />
    </div>`;
}
