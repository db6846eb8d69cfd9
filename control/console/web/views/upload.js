// An upload of a hook's module by drop or by choice of a file, and what the server found in it.
import { useRef, useState } from 'preact/hooks';
import { call, seg } from '../lib/api.js';
import { bytes, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';
import { Field, Why } from '../lib/ui.js';

export function Report({ version }) {
  const { report, replay } = version;
  return html`<div class="report">
    ${report ? html`<dl class="facts wide">
      <div><dt>${t('says')}</dt><dd>${report.name} ${report.version}</dd></div>
      <div><dt>${t('contract')}</dt><dd>${report.contract}</dd></div>
      <div><dt>${t('compiled')}</dt><dd>${bytes(report.compiled_bytes)}, ${number(report.compile_ms)} ms</dd></div>
      <div><dt>${t('memory')}</dt><dd>${bytes(report.memory_bytes)}</dd></div>
      <div><dt>${t('exports')}</dt><dd>${report.exports.join(', ')}</dd></div>
      <div><dt>${t('imports')}</dt><dd>${report.imports.join(', ')}</dd></div></dl>
      ${report.traps.length > 0 && html`<p class="why">${t('traps', { names: report.traps.join(', ') })}</p>`}
      ${report.settings.length > 0 && html`<h4>${t('reads')}</h4><ul>${report.settings.map((one) => html`<li><code>${one.name}</code>${one.required ? ' *' : ''} <span class="quiet">${one.kind}</span> <span dir="auto">${one.about}</span>${one.default ? html` <span class="quiet">(${one.default})</span>` : ''}</li>`)}</ul>`}
      ${report.configurations.filter((one) => !one.accepted).map((one) => html`<p class="why">${t('configuration_of', { binding: one.binding })}: ${one.reason}</p>`)}` : html`<p class="quiet">${t('no_report')}</p>`}
    ${replay && html`<p>${t('replayed', { decisions: number(replay.decisions), same: number(replay.same), differing: number(replay.differing), failed: number(replay.failed) })}</p>
      ${replay.differences.length > 0 && html`<ul>${replay.differences.slice(0, 20).map((one) => html`<li>${one.action} ${one.stream} ${one.protocol} ${one.ip}: <s>${one.recorded}</s> → ${one.candidate}</li>`)}</ul>`}`}
  </div>`;
}

export function Upload({ name, changed }) {
  const [file, choose] = useState(null);
  const [over, hover] = useState(false);
  const [signature, sign] = useState('');
  const [state, say] = useState({ busy: false, problem: null, made: null });
  const input = useRef(null);
  const pick = (files) => {
    hover(false);
    if (!files?.length) return;
    choose(files[0]);
    say({ busy: false, problem: null, made: null });
  };
  const send = async (accept = false) => {
    say({ busy: true, problem: null, made: null });
    try {
      const headers = signature.trim() ? { 'Millstream-Signature': signature.trim() } : {};
      const made = await call('POST', `hooks/${seg(name)}/versions${accept ? '?accept_differences=true' : ''}`, { body: file, type: 'application/wasm', headers });
      say({ busy: false, problem: null, made });
      choose(null);
      if (input.current) input.current.value = '';
      changed();
    } catch (problem) {
      say({ busy: false, problem, made: null });
    }
  };
  const drop = (event) => {
    event.preventDefault();
    pick(event.dataTransfer.files);
  };
  const differs = state.problem?.status === 409 && /accept_differences/.test(state.problem.message);
  return html`<section class=${`drop ${over ? 'over' : ''}`} aria-label=${t('upload')} onDragOver=${(event) => { event.preventDefault(); hover(true); }} onDragLeave=${() => hover(false)} onDrop=${drop}>
    <p><label class="button">${t('choose_file')}<input ref=${input} class="outside" type="file" accept=".wasm,application/wasm" onChange=${(event) => pick(event.target.files)} /></label> ${t('or_drop')}</p>
    ${file && html`<p><b dir="auto">${file.name}</b> <span class="quiet">${bytes(file.size)}</span></p>
      <details><summary>${t('signature')}</summary><${Field} label=${t('signature')} hint=${t('signature_hint')} wrong=${state.problem?.of('Millstream-Signature')}>${(field) => html`<input ...${field} spellcheck="false" value=${signature} onInput=${(event) => sign(event.target.value)} />`}<//></details>
      <p class="row"><button type="button" class="primary" disabled=${state.busy} onClick=${() => send()}>${state.busy ? t('uploading') : t('upload')}</button>
        ${differs && html`<button type="button" class="danger" disabled=${state.busy} onClick=${() => send(true)}>${t('accept_differences')}</button>`}</p>`}
    <${Why} problem=${state.problem} />
    ${state.made && html`<div role="status"><p class="good"><b>${t('is_version', { number: state.made.number })}</b></p><${Report} version=${state.made} /></div>`}
  </section>`;
}
