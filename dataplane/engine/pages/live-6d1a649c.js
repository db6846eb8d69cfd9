// What a page knows from the server beside the media: its clock, and whether a stream is on air (`live.json`). For every page that shows
// streams: it touches nothing of the page.
'use strict';
window.millstreamLive = (() => {
  const SAMPLES = 3;
  const AGAIN_MS = 300000;
  const TIMEOUT_MS = 5000;

  async function ask(url) {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), TIMEOUT_MS);
    const asked = performance.now();
    try {
      const answer = await fetch(url, { cache: 'no-store', signal: controller.signal });
      const text = answer.ok ? await answer.text() : '';
      return { status: answer.status, text, asked, answered: performance.now() };
    } catch (error) {
      return { status: 0, text: '', asked, answered: performance.now() };
    } finally {
      clearTimeout(timer);
    }
  }

  // The server's clock, whatever the browser's says: of some answers of `/time` the one with the shortest way counts. `url`: where that is.
  function clock(url) {
    // Server minus `performance.now()`, which no change of the browser's clock moves.
    let offset = NaN;
    let floor = -Infinity;
    let stopped = false;

    async function measure() {
      let best = null;
      for (let i = 0; i < SAMPLES && !stopped; i += 1) {
        const { status, text, asked, answered } = await ask(url);
        const server = status === 200 ? Date.parse(text) : NaN;
        const trip = answered - asked;
        if (server > 0 && (!best || trip < best.trip)) best = { trip, offset: server - (asked + answered) / 2 };
      }
      if (best) offset = best.offset;
      if (!stopped) setTimeout(measure, AGAIN_MS * (0.75 + Math.random() / 2));
    }

    measure();
    return {
      // Unix milliseconds.
      now: () => performance.now() + (offset === offset ? offset : floor),
      known: () => Number.isFinite(offset) || Number.isFinite(floor),
      // A time that the server wrote into an answer, which may have been kept by a cache: the truth is not before it.
      heard: (unixMs, asked, answered) => { floor = Math.max(floor, unixMs - (asked + answered) / 2); },
      stop: () => { stopped = true; },
    };
  }

  // Asks for `live.json` now and then. `onStatus` gets what it says, with `state` also `denied` or `unreachable`; `pauseMs` says how long
  // after that it is asked again. `url` may be a function, where it changes.
  function status(url, { onStatus, pauseMs, clock: serverClock }) {
    let timer = 0;
    let under = false;
    let again = false;
    let stopped = false;

    function read({ status: code, text, asked, answered }) {
      if (code === 401 || code === 403) return { state: 'denied' };
      // No such stream, or a server that has no such document: the players find out.
      if (code === 404) return { state: 'off', unknown: true };
      if (code !== 200) return { state: 'unreachable', code };
      try {
        const said = JSON.parse(text);
        if (serverClock && said.unix_ms > 0) serverClock.heard(said.unix_ms, asked, answered);
        return said;
      } catch (error) {
        return { state: 'unreachable', code };
      }
    }

    async function poll() {
      if (stopped) return;
      if (under) {
        again = true;
        return;
      }
      clearTimeout(timer);
      under = true;
      const said = read(await ask(typeof url === 'function' ? url() : url));
      under = false;
      if (stopped) return;
      onStatus(said);
      clearTimeout(timer);
      const pause = again ? 0 : pauseMs() * (0.85 + Math.random() * 0.3);
      again = false;
      timer = setTimeout(poll, pause);
    }

    return {
      poll,
      // Sooner than planned.
      within(ms) {
        if (under || stopped) return;
        clearTimeout(timer);
        timer = setTimeout(poll, ms);
      },
      stop() {
        stopped = true;
        clearTimeout(timer);
      },
    };
  }

  return { ask, clock, status };
})();
