// A moving preview: FLV over WebSocket from the node, muted. It is no viewer of the stream, and needs no permission but the login's. So many at a time, of those that are on the screen, while the page is looked at.
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, seg } from './api.js';
import { html } from './html.js';
import { script } from './script.js';
import { t } from './text.js';
import { value } from './value.js';

const AT_ONCE_MAX = 9;
const RETRY_FIRST_MS = 1000;
const RETRY_MAX_MS = 15000;
const STALL_MS = 8000;
// A player has connected or failed after this; less than STALL_MS.
const CONNECT_MS = 5000;
// Behind the newest picture a preview jumps at the first and lands at the second, seconds.
const LATENCY_MAX_S = 3;
const LATENCY_REMAIN_S = 0.7;
const KEPT_S = 15;
// An address is asked for again after this part of its time, before the node ends what is played by it.
const RENEWED_AFTER = 0.9;

const taken = value(0);
// Of an element, until its last player is gone: one that is destroyed while it connects, or tells of an error, throws afterwards.
const leaving = new WeakMap();

// Where the stream's picture is at its node, or else at the first one, which is the fleet's. The address holds a token of its own, good for some minutes.
async function addressOf({ stream, node }) {
  const { items, expires_in_ms: goodMs } = await get(`streams/${seg(stream)}/preview`);
  const one = items.find((item) => item.node === node) ?? items[0];
  return one ? { flv: one.flv, goodMs } : null;
}

// Plays into the element until the function that it gives is called.
function play(video, source, say) {
  let open = true;
  let made = null;
  let timer = 0;
  let renewal = 0;
  let retryMs = RETRY_FIRST_MS;
  let progress = { time: -1, at: 0 };
  const discard = () => {
    const gone = made;
    made = null;
    if (!gone) return;
    leaving.set(video, gone.begun.then(() => new Promise((done) => {
      setTimeout(() => {
        try { gone.player.destroy(); } catch { /* It is half gone already. */ }
        done();
      });
    })));
  };
  const later = (why) => {
    discard();
    clearTimeout(renewal);
    if (!open) return;
    say(why);
    clearTimeout(timer);
    timer = setTimeout(begin, retryMs);
    retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
  };
  async function begin() {
    let mpegts;
    let address;
    try {
      await leaving.get(video);
      mpegts = await script('mpegts');
      mpegts.LoggingControl.enableAll = false;
    } catch {
      later('preview_stale');
      return;
    }
    if (!open) return;
    try {
      address = await addressOf(source);
    } catch {
      later('preview_no_answer');
      return;
    }
    if (!open) return;
    if (!address) {
      say('preview_no_node');
      return;
    }
    if (!mpegts.isSupported()) {
      say('preview_unsupported');
      return;
    }
    const player = mpegts.createPlayer({ type: 'flv', isLive: true, url: address.flv.replace(/^http/, 'ws'), cors: true }, {
      isLive: true,
      enableWorker: false,
      enableStashBuffer: false,
      lazyLoad: false,
      liveBufferLatencyChasing: true,
      liveBufferLatencyMaxLatency: LATENCY_MAX_S,
      liveBufferLatencyMinRemain: LATENCY_REMAIN_S,
      autoCleanupSourceBuffer: true,
      autoCleanupMaxBackwardDuration: KEPT_S,
      autoCleanupMinBackwardDuration: KEPT_S / 3,
    });
    const begun = new Promise((done) => {
      player.on(mpegts.Events.MEDIA_INFO, done);
      player.on(mpegts.Events.ERROR, done);
      setTimeout(done, CONNECT_MS);
    });
    made = { player, begun };
    player.on(mpegts.Events.ERROR, (kind) => {
      if (made?.player === player) later(kind === mpegts.ErrorTypes.NETWORK_ERROR ? 'preview_no_answer' : 'preview_cannot_show');
    });
    player.attachMediaElement(video);
    progress = { time: -1, at: Date.now() };
    clearTimeout(renewal);
    if (address.goodMs) {
      renewal = setTimeout(() => {
        clearTimeout(timer);
        discard();
        begin();
      }, address.goodMs * RENEWED_AFTER);
    }
    player.load();
    player.play()?.catch(() => { /* It is said by the element's events. */ });
  }
  const look = setInterval(() => {
    if (!made) return;
    if (video.currentTime !== progress.time) {
      if (progress.time >= 0) {
        say('playing');
        retryMs = RETRY_FIRST_MS;
      }
      progress = { time: video.currentTime, at: Date.now() };
    } else if (Date.now() - progress.at > STALL_MS) {
      later('preview_still');
    }
  }, 500);
  begin();
  return () => {
    open = false;
    clearTimeout(timer);
    clearTimeout(renewal);
    clearInterval(look);
    discard();
  };
}

// Of a stream at a node.
export function Preview({ stream, node, name, controls = false }) {
  const box = useRef(null);
  const video = useRef(null);
  const [seen, see] = useState(false);
  const [slot, hold] = useState(false);
  const [state, say] = useState('preview_waits');
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => see(entries.at(-1).isIntersecting && !document.hidden), { rootMargin: '80px' });
    observer.observe(box.current);
    const again = () => {
      observer.unobserve(box.current);
      observer.observe(box.current);
    };
    document.addEventListener('visibilitychange', again);
    return () => {
      observer.disconnect();
      document.removeEventListener('visibilitychange', again);
    };
  }, []);
  useEffect(() => {
    if (!seen) return undefined;
    let held = false;
    const take = () => {
      if (held || taken.get() >= AT_ONCE_MAX) return;
      held = true;
      taken.set(taken.get() + 1);
      hold(true);
    };
    const unfollow = taken.follow(take);
    take();
    return () => {
      unfollow();
      hold(false);
      if (held) taken.set(taken.get() - 1);
    };
  }, [seen]);
  useEffect(() => {
    if (!slot) return undefined;
    say('preview_begins');
    return play(video.current, { stream, node }, say);
  }, [slot, stream, node]);
  return html`<div class="preview" ref=${box} data-state=${state}>
    <video ref=${video} muted playsinline disablepictureinpicture controls=${controls} aria-label=${t('preview_of', { name })}></video>
    ${state !== 'playing' && html`<span class="over">${t(state)}</span>`}
  </div>`;
}
