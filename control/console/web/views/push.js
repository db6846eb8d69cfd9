// What an encoder is given: server and key, the settings that fit, and another key.
import { useEffect, useState } from 'preact/hooks';
import { call, once, seg } from '../lib/api.js';
import { html } from '../lib/html.js';
import { Qr } from '../lib/qr.js';
import { t } from '../lib/text.js';
import { Act, Field, Line, Rest, Time, Why } from '../lib/ui.js';
import { useAsked } from '../lib/use.js';

const GRACES = [0, 3600, 86400, 604800];

// As OBS and others ask for it: the server up to and with the application, and what follows.
export function split(url) {
  const at = url.indexOf('/', url.indexOf('://') + 3);
  const app = url.indexOf('/', at + 1);
  return { server: url.slice(0, app), key: url.slice(app + 1) };
}

function Rotate({ id, done }) {
  const [grace, set] = useState('86400');
  return html`<section><h2>${t('rotate')}</h2><p>${t('rotate_text')}</p>
    <div class="row wrap end-aligned">
      <${Field} label=${t('grace')}>${(field) => html`<select ...${field} value=${grace} onChange=${(event) => set(event.target.value)}>${GRACES.map((s) => html`<option value=${s}>${t(`grace_${s}`)}</option>`)}</select>`}<//>
      <${Act} kind="danger" needs="operator" does=${async () => done(await call('POST', `streams/${seg(id)}/key`, { json: { grace_s: Number(grace) }, key: once() }))}
        ask=${{ title: t('rotate'), text: grace === '0' ? t('rotate_now_text') : t('rotate_grace_text', { grace: t(`grace_${grace}`) }) }}>${t('rotate')}<//>
    </div></section>`;
}

export function Push({ id, stream, changed }) {
  const asked = useAsked(`streams/${seg(id)}/key`);
  const [at, choose] = useState(0);
  const [qr, show] = useState(false);
  const key = asked.data;
  // A key that is hidden again is no longer in the code either.
  useEffect(() => show(false), [key?.generation]);
  if (!key) return html`<${Rest} of=${asked} count=${0} />`;
  const url = key.push_urls[Math.min(at, key.push_urls.length - 1)]?.push_url;
  const { server, key: secret } = url ? split(url) : {};
  const segment = stream.settings.hls_time ?? 2;
  const isOver = key.expires_unix_s && key.expires_unix_s * 1000 < Date.now();
  return html`<section>
      ${!url && html`<p class="why">${t(stream.settings.isRtmps ? 'no_rtmps' : 'no_node')}</p>`}
      ${url && html`
        ${key.push_urls.length > 1 && html`<${Field} label=${t('node')}>${(field) => html`<select ...${field} value=${at} onChange=${(event) => choose(Number(event.target.value))}>
          ${key.push_urls.map((one, n) => html`<option value=${n}>${one.node || t('fleet')}</option>`)}</select>`}<//>`}
        <${Line} label=${t('server')} text=${server} />
        <${Line} key=${`k${key.generation}`} label=${t('stream_key')} text=${secret} secret=${secret !== id} />
        <${Line} key=${`u${key.generation}`} label=${t('whole_url')} text=${url} secret=${secret !== id} more=${html`<button type="button" class="small" aria-expanded=${qr} onClick=${() => show(!qr)}>${t('qr')}</button>`} />
        ${qr && html`<${Qr} text=${url} label=${t('qr_push')} />`}`}
      ${isOver && html`<p class="why">${t('key_is_over')} <${Time} ms=${key.expires_unix_s * 1000} />. <a href=${`#/streams/${seg(id)}/settings`}>${t('part_settings')}</a></p>`}
      <p class="quiet">${isOver ? '' : key.expires_unix_s ? html`${t('key_good_until')} <${Time} ms=${key.expires_unix_s * 1000} />` : t('key_not_asked')}
        ${key.previous.map((one) => html`<br />${t('key_before', { generation: one.generation })} <${Time} ms=${one.until_unix_s * 1000} />`)}</p>
      ${key.legacy_sign && html`<details><summary>${t('legacy')}</summary><p>${t('legacy_text')}</p><${Line} key=${`l${key.generation}`} label="sign=" text=${key.legacy_sign} secret /></details>`}
    </section>
    <section><h2>${t('obs')}</h2><p>${t('obs_text')}</p>
      <dl class="facts wide">
        <div><dt>${t('obs_service')}</dt><dd>${t('obs_service_is')}</dd></div>
        <div><dt>${t('obs_keyframes')}</dt><dd>${segment} s</dd></div>
        <div><dt>${t('obs_rate')}</dt><dd>CBR</dd></div>
        <div><dt>${t('obs_bframes')}</dt><dd>0</dd></div>
        <div><dt>${t('obs_audio')}</dt><dd>AAC, 128–160 kbit/s, 48 kHz</dd></div>
      </dl>
      ${url && html`<${Line} key=${`f${key.generation}`} label="ffmpeg" text=${`ffmpeg -re -i INPUT -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -b:v 2500k -r 30 -g ${segment * 30} -c:a aac -b:a 128k -f flv '${url}'`} secret=${secret !== id} />`}
    </section>
    ${stream.source === 'store' ? html`<${Rotate} id=${id} done=${(next) => { asked.put(next); changed(); }} />` : html`<${Why} problem=${{ message: t('of_file_text') }} />`}`;
}
