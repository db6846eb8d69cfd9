// One stream: how it is on air, what an encoder and players are given, its settings, its recordings, who published it.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { call, get, may, query, seg } from '../lib/api.js';
import { Chart } from '../lib/chart.js';
import { bits, bytes, clock, codec, lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { baseAt, filesOf } from '../lib/places.js';
import { Preview } from '../lib/preview.js';
import { sample, useSamples, viewersOf } from '../lib/samples.js';
import { has, t } from '../lib/text.js';
import { Act, More, Rest, Table, Tag, Time, Why } from '../lib/ui.js';
import { useAsked, useList } from '../lib/use.js';
import { Diagnosis } from './diagnosis.js';
import { Events } from './events.js';
import { kick, stateOf } from './live.js';
import { Motion, looked } from './motion.js';
import { Play } from './play.js';
import { Push } from './push.js';
import { Quality } from './quality.js';
import { RecordingList } from './recordings.js';
import { Relays, Renditions } from './renditions.js';
import { Settings } from './settings.js';

const PARTS = ['now', 'push', 'play', 'settings', 'recordings', 'motion', 'history'];

function Viewers({ id }) {
  const asked = useAsked(`streams/${seg(id)}/viewers?limit=100`, 5000);
  const items = asked.data?.items ?? [];
  const end = async (one) => {
    await call('DELETE', `nodes/${seg(one.node)}/sessions/${one.session}`);
    asked.again();
  };
  if (!items.length) return null;
  return html`<section><h2>${t('viewers')}</h2>
    ${(asked.data.missing ?? []).map((one) => html`<p class="why">${one.node}: ${one.reason}</p>`)}
    <${Table} caption=${t('viewers')} rows=${items} name=${(one) => `${one.node}/${one.session}`} columns=${[
      ['peer', t('peer'), (one) => one.peer],
      ['protocol', t('protocol'), (one) => one.protocol],
      ['since', t('since'), (one) => lasting(Date.now() - one.since_unix_ms)],
      ['sent', t('sent'), (one) => bytes(one.sent_bytes)],
      ['skips', t('skips'), (one) => number(one.skips)],
      ['act', '', (one) => html`<${Act} small kind="danger" needs="operator" does=${() => end(one)} ask=${{ title: t('kick_what', { what: one.peer }), text: t('kick_viewer_text') }}>${t('kick')}<//>`],
    ]} />
    ${asked.data.next && html`<p class="quiet">${t('first_only', { count: items.length })}</p>`}
  </section>`;
}

const isRunning = (recording) => ['recording', 'paused'].includes(recording?.state);

// Recording by hand, for as long as the session lasts. `newest`: of its recordings.
function ByHand({ id, newest }) {
  const path = `streams/${seg(id)}/recording`;
  const order = (method) => async () => {
    await call(method, path);
    newest.again();
  };
  const one = newest.data?.items[0];
  if (!isRunning(one)) return html`<${Act} needs="operator" does=${order('POST')}>${t('record_start')}<//>`;
  return html`<${Tag} kind=${one.state === 'paused' ? 'odd' : 'bad'} title=${one.why}>${t(`recording_${one.state}`)} ${clock(one.started_unix_ms)}<//>
    <${Act} needs="operator" does=${order('DELETE')} ask=${{ title: t('record_stop'), text: t('record_stop_text') }}>${t('record_stop')}<//>`;
}

function Now({ id, stream, none }) {
  const asked = useAsked(`streams/${seg(id)}/session`, 2000);
  // Within the hour that addresses are good for.
  const files = useAsked(id, 1800000, filesOf);
  const off = asked.problem?.status === 404;
  const live = off ? null : asked.data;
  useMemo(() => { if (live) sample([live]); }, [live]);
  const publisher = live?.publisher;
  // The node's own page, which goes back in a stream that is recorded.
  const [past, goBack] = useState(null);
  const base = live ? baseAt(files.data ?? [], live.node) : null;
  const page = base && `${base}index.html`;
  const newest = useAsked(`recordings${query({ stream: id, limit: 1 })}`, 3000);
  const at = useRef(null);
  if (live) at.current = live.node;
  const samples = useSamples(id, at.current);
  const video = publisher?.video;
  const audio = publisher?.audio;
  const name = stream?.settings.videoname || id;
  const chart = (key, label, show, whole = false) => html`<figure><figcaption>${label} <b>${show(samples[key].at(-1) ?? 0)}</b></figcaption><${Chart} at=${samples.at} values=${samples[key]} show=${show} label=${label} height=${130} axes whole=${whole} sync=${id} /></figure>`;
  // What was is also there when the stream has ended.
  const charts = samples.at.length > 1 && html`<div class="charts">${chart('bitrate', t('bitrate'), bits)}${chart('viewers', t('viewers'), (n) => number(n), true)}${chart('fps', t('fps'), (n) => number(n, 1))}${chart('jitter', t('jitter'), (n) => `${number(n, 1)} ms`)}</div>`;
  return html`<div class="split">
    <div>
      ${asked.problem && !off && html`<${Why} problem=${asked.problem} />`}
      ${off && html`<${Diagnosis} key=${id} id=${id} publisher=${null} /><div class="empty"><h2>${t(none ? 'no_such_stream' : 'not_on_air')}</h2><p>${t(none ? 'no_such_stream_text' : 'not_on_air_text')}</p>${may('operator') && !none && html`<p><a class="button" href=${`#/streams/${seg(id)}/push`}>${t('part_push')}</a></p>`}</div>${charts}`}
      ${live && html`
        ${stateOf(live) !== 'waiting' && (past ? html`<iframe class="past" src=${past} title=${t('player_past', { name })} allow="autoplay; fullscreen" sandbox="allow-scripts allow-same-origin"></iframe>` : html`<${Preview} stream=${id} node=${live.node} name=${name} controls />`)}
        <div class="row wrap"><${Tag} kind=${stateOf(live)}>${t(`state_${stateOf(live)}`)}<//>
          ${(past || page && stream?.settings.isOnDemand && isRunning(newest.data?.items[0])) && html`<button type="button" aria-pressed=${Boolean(past)} onClick=${() => goBack(past ? null : page)}>${past ? t('to_live') : t('go_back')}</button>`}
          ${publisher && html`<${Act} kind="danger" needs="operator" does=${() => kick(id)} ask=${{ title: t('kick_what', { what: name }), text: t('kick_text') }}>${t('kick')}<//><${ByHand} id=${id} newest=${newest} />`}</div>
        <${Diagnosis} key=${id} id=${id} publisher=${publisher} />
        ${charts}
        ${publisher && html`<dl class="facts wide">
          <div><dt>${t('node')}</dt><dd>${live.node}</dd></div>
          <div><dt>${t('began')}</dt><dd><${Time} ms=${publisher.since_unix_ms} /></dd></div>
          <div><dt>${t('encoder')}</dt><dd dir="auto">${publisher.encoder || '–'}</dd></div>
          <div><dt>${t('peer')}</dt><dd>${publisher.protocol} ${publisher.peer}</dd></div>
          <div><dt>${t('video')}</dt><dd>${video ? `${codec(video.codec)} (${video.codec}) ${video.width ?? '?'}×${video.height ?? '?'}` : '–'}</dd></div>
          <div><dt>${t('audio')}</dt><dd>${audio ? `${codec(audio.codec)} (${audio.codec}) ${audio.rate_hz ? `${number(audio.rate_hz / 1000, 1)} kHz` : ''} ${audio.channels ? t('channels', { count: audio.channels }) : ''}` : '–'}</dd></div>
          <div><dt>${t('keyframes')}</dt><dd>${video?.keyframe_interval_ms ? `${number(video.keyframe_interval_ms / 1000, 2)} s` : '–'}</dd></div>
          <div><dt>${t('gaps')}</dt><dd>${number(publisher.gaps)} (${t('longest', { ms: number(publisher.longest_gap_ms) })})</dd></div>
          <div><dt>${t('received')}</dt><dd>${bytes(publisher.received_bytes)}</dd></div>
          ${live.motion && html`<div><dt>${t('part_motion')}</dt><dd>${looked(live.motion)}</dd></div>`}
          <div><dt>${t('viewers')}</dt><dd>${live.viewers.map((one) => `${one.protocol} ${one.estimated ? '≈' : ''}${number(one.count)}`).join(', ') || number(viewersOf(live))}</dd></div>
        </dl>`}
        <${Renditions} live=${live} /><${Relays} live=${live} />
        <${Quality} id=${id} />
        <${Viewers} id=${id} />`}
    </div>
    <${Events} stream=${id} />
  </div>`;
}

function History({ id }) {
  const list = useList(`streams/${seg(id)}/history`);
  return html`<p class="quiet">${t('history_text')}</p>
    ${list.items.length > 0 && html`<${Table} caption=${t('part_history')} rows=${list.items} name=${(one) => `${one.node}/${one.session}/${one.since_unix_ms}`} columns=${[
      ['since', t('began'), (one) => html`<${Time} ms=${one.since_unix_ms} />`],
      ['lasted', t('lasted'), (one) => (one.ended_unix_ms ? lasting(one.ended_unix_ms - one.since_unix_ms) : html`<span class="quiet">${t('not_over')}</span>`)],
      ['why', t('ended_by'), (one) => (has(`ended_${one.why}`) ? t(`ended_${one.why}`) : one.why || '–')],
      ['received', t('received'), (one) => bytes(one.received_bytes)],
      ['peer', t('peer'), (one) => one.peer],
      ['encoder', t('encoder'), (one) => html`<span dir="auto">${one.encoder}</span>`],
      ['node', t('node'), (one) => one.node],
    ]} />`}
    <${Rest} of=${list} count=${list.items.length} empty=${t('no_history')} /><${More} list=${list} />`;
}

export function Stream({ id, part = 'now' }) {
  const asked = useAsked(`streams/${seg(id)}`);
  const stream = asked.data;
  const shown = PARTS.includes(part) ? part : 'now';
  useEffect(() => { document.querySelector('.tabs [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' }); }, [shown]);
  const remove = async () => {
    // What is there now is removed: who asks has just seen its name.
    const now = await get(`streams/${seg(id)}`);
    await call('DELETE', `streams/${seg(id)}?kick=true`, { etag: now.etag });
    location.hash = '#/streams';
  };
  // A stream without a record is on air all the same where anyone may push.
  const none = asked.problem?.status === 404;
  const name = stream?.settings.videoname || id;
  return html`<header class="title"><div><p class="crumbs"><a href="#/streams">${t('view_streams')}</a></p><h1 dir="auto">${name}</h1>${name !== id && html`<p class="id">${id}</p>`}</div>
      <div class="row">${stream?.source === 'store' && html`<${Act} kind="danger" needs="operator" does=${remove} word=${t('remove')}
        ask=${{ title: t('remove_what', { what: name }), text: t('remove_stream_text') }}>${t('remove')}<//>`}
        ${stream?.source === 'configuration' && html`<${Tag} title=${t('of_file_text')}>${t('of_file')}<//>`}</div>
    </header>
    <nav class="tabs" aria-label=${t('parts')}>${PARTS.filter((key) => (key !== 'push' || may('operator')) && (!none || !['push', 'settings'].includes(key))).map((key) => html`<a href=${`#/streams/${seg(id)}/${key}`} aria-current=${key === shown ? 'page' : undefined}>${t(`part_${key}`)}</a>`)}</nav>
    ${asked.problem && (!none || !['now', 'play'].includes(shown)) && html`<${Why} problem=${asked.problem} />`}
    ${shown === 'now' && html`<${Now} id=${id} stream=${stream} none=${none} />`}
    ${stream && shown === 'push' && html`<${Push} id=${id} stream=${stream} changed=${asked.again} />`}
    ${(stream || none) && shown === 'play' && html`<${Play} id=${id} name=${name} />`}
    ${stream && shown === 'settings' && html`<${Settings} key=${id} id=${id} stream=${stream} changed=${asked.put} />`}
    ${shown === 'recordings' && html`<${RecordingList} stream=${id} keptDays=${stream?.settings.retention_days ?? 0} />`}
    ${shown === 'motion' && html`<${Motion} id=${id} />`}
    ${shown === 'history' && html`<${History} id=${id} />`}`;
}
