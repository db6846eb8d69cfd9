// What this page tells the server of how it plays, as CMCD version 2 (CTA-5004-B): it goes along with the questions for `live.json`, which the page asks
// anyway, so there is no request more. The session's name is random and of this page alone. For `page.js`, whatever it plays by.
'use strict';
window.millstreamReport = (video) => {
  const FORMATS = { flv: 'o', hls: 'h', dash: 'd' };
  // A stall that is shorter is the browser's and not the network's: nobody sees it.
  const STALL_MS = 100;
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const session = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  // Since when somebody wants to see something; how long that took, until it is told.
  let wantedAt = 0;
  let startMs = NaN;
  let stalls = 0;
  let stalledMs = 0;
  let stalledAt = 0;

  const now = () => performance.now();

  // A picture is there.
  function moves() {
    if (wantedAt > 0) startMs = now() - wantedAt;
    wantedAt = -1;
    if (stalledAt && now() - stalledAt >= STALL_MS) {
      stalls += 1;
      stalledMs += now() - stalledAt;
    }
    stalledAt = 0;
  }

  const rounded = (number, step) => Math.round(number / step) * step;

  return {
    session,
    // The page begins to play a stream that is on air, for the first time or again.
    wants() { if (!wantedAt) wantedAt = now(); },
    moves,
    // The player has run dry; `isTheirs`: because nothing comes from the broadcaster, or because the visitor wants something else.
    stands(isTheirs) {
      if (wantedAt < 0 && !isTheirs && !document.hidden) stalledAt = stalledAt || now();
    },
    // There is nothing to see: what is wanted is wanted later.
    rests() { if (wantedAt > 0) wantedAt = 0; },
    // Nothing is played any more: what stood still until then does so no longer.
    ends() { stalledAt = 0; },
    // As text, or empty where there is nothing to tell. `way`: by what it plays; `bits`: a second; `delay`: seconds.
    text({ way, state, bits, delay }) {
      if (!FORMATS[way] || !wantedAt) return '';
      const { buffered, currentTime } = video;
      const ahead = buffered.length ? (buffered.end(buffered.length - 1) - currentTime) * 1000 : NaN;
      const open = stalledAt ? now() - stalledAt : 0;
      const all = {
        bl: ahead >= 0 ? '(' + rounded(ahead, 100) + ')' : '',
        br: bits > 0 ? '(' + rounded(bits / 1000, 1) + ')' : '',
        bsa: '(' + (stalls + (open >= STALL_MS ? 1 : 0)) + ')',
        bsda: '(' + rounded(stalledMs + (open >= STALL_MS ? open : 0), 1) + ')',
        ltc: delay >= 0 ? String(rounded(delay * 1000, 1)) : '',
        msd: startMs >= 0 ? String(rounded(startMs, 1)) : '',
        sf: FORMATS[way],
        sid: '"' + session + '"',
        st: 'l',
        sta: stalledAt ? 'r' : state,
        v: '2',
      };
      return Object.entries(all).filter(([, value]) => value !== '').map(([key, value]) => key + '=' + value).join(',');
    },
    // The server has it: how long the start took is said once.
    told() { startMs = -1; },
  };
};
