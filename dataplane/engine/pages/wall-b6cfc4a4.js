// A wall of streams: each tile plays one by FLV. Where the page came by HTTP/2, all of them share its connection; else each has a WebSocket, of which a
// browser opens as many as the page needs, where it opens six HTTP/1.1 connections to a server. `wall.html?streams=a,b,c`; other parameters (a token, `start=next`) go along with each stream's address.
//
// Nothing here becomes HTML: texts are set as textContent. `window.millstreamWall` shows the state to tests and to the curious.
'use strict';
(() => {
  const STREAMS_MAX = 64;
  const ID = /^[A-Za-z0-9_-]{1,64}$/;
  const RETRY_FIRST_MS = 1000;
  const RETRY_MAX_MS = 15000;
  // Tiles start one after another, so that the page is not busy with all of them at once.
  const STAGGER_MS = 40;
  const LOOK_EVERY_MS = 500;
  const CROSS_EVERY_MS = 200;
  // A picture that stands still: first it is said, then the connection is made anew.
  const STILL_MS = 2000;
  const STALL_MS = 12000;
  // One that stands still for this long: is the publisher there?
  const QUIET_MS = 700;
  // How often the server is asked about a stream that plays; and how far apart the questions of all tiles are at least, together.
  const POLL = { troubled: 600, calm: 10000, apart: 100 };
  // The publisher has gone and is waited for, or sends nothing.
  const AWAY = ['waiting', 'silent', 'starting'];
  // Beyond MAX a tile jumps to REMAIN behind its newest picture.
  const LATENCY_MAX_S = 3;
  const LATENCY_REMAIN_S = 0.7;
  // Many tiles share the memory.
  const KEPT_S = 20;

  const WORDS = {
    connecting: 'connecting',
    playing: 'live',
    still: 'waiting for the picture',
    interrupted: 'interrupted',
    slate: 'be right back',
    waiting: 'not on air',
    off: 'switched off for this stream',
    lost: 'reconnecting',
    denied: 'no permission',
    unsupported: 'this browser cannot play it',
  };

  const $ = (id) => document.getElementById(id);
  const wall = $('wall');
  const query = new URLSearchParams(location.search);
  const tiles = [];
  const loaded = performance.getEntriesByType('navigation')[0];
  const shared = loaded !== undefined && loaded.nextHopProtocol === 'h2';
  let enlarged = null;

  window.millstreamWall = { tiles: [], get enlarged() { return enlarged ? enlarged.id : ''; } };

  // The names of the address, each once; what cannot be a stream is counted.
  function names() {
    const all = query.getAll('streams').join(',').split(',').map((name) => name.trim()).filter(Boolean);
    const valid = [...new Set(all.filter((name) => ID.test(name)))];
    const notes = [];
    const wrong = all.filter((name) => !ID.test(name)).length;
    if (wrong) notes.push(wrong + (wrong === 1 ? ' name' : ' names') + ' left out: a stream id has 1 to 64 letters, digits, "-" or "_".');
    if (valid.length > STREAMS_MAX) notes.push('Only the first ' + STREAMS_MAX + ' of ' + valid.length + ' streams are shown.');
    return { ids: valid.slice(0, STREAMS_MAX), notes };
  }

  // Beside this page, wherever a proxy has put it.
  function address(id, file, socket) {
    const url = new URL(id + '/' + file, location.href);
    for (const [name, value] of query) if (name !== 'streams') url.searchParams.append(name, value);
    if (socket) url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    return url.href;
  }

  // Why there is no FLV of a stream of which `live.json` says this.
  function absence(live) {
    if (live.outputs && live.outputs.flv === false) return 'off';
    if (live.state === 'waiting' || live.state === 'silent') return 'interrupted';
    return live.state === 'slate' ? 'slate' : 'waiting';
  }

  class Tile {
    constructor(id) {
      this.id = id;
      this.player = null;
      this.crossHoles = () => {};
      this.visit = 0;
      this.timer = 0;
      this.retryMs = RETRY_FIRST_MS;
      this.progress = { time: -1, at: performance.now() };
      // What the player does. What is shown also depends on what the server says of the stream.
      this.base = 'connecting';
      this.live = { state: 'unknown' };
      this.asking = false;
      this.askedAt = -Infinity;
      // Something has changed of which the server knows more.
      this.curious = true;
      this.shown = {
        id, state: 'connecting', words: WORDS.connecting, attempts: 0, errors: [],
        currentTime: 0, frames: 0, latency: NaN, muted: true, url: '',
      };
      window.millstreamWall.tiles.push(this.shown);

      this.figure = document.createElement('figure');
      this.figure.tabIndex = 0;
      this.figure.setAttribute('role', 'button');
      this.figure.setAttribute('aria-pressed', 'false');
      this.video = document.createElement('video');
      Object.assign(this.video, { muted: true, autoplay: true, playsInline: true, disablePictureInPicture: true });
      this.video.setAttribute('aria-label', id);
      const caption = document.createElement('figcaption');
      const name = document.createElement('span');
      name.textContent = id;
      this.badge = document.createElement('span');
      this.badge.className = 'badge';
      this.badge.setAttribute('role', 'status');
      caption.append(name, this.badge);
      this.figure.append(this.video, caption);
      this.figure.addEventListener('click', () => enlarge(enlarged === this ? null : this));
      this.figure.addEventListener('keydown', (event) => {
        if (event.target !== this.figure || (event.key !== 'Enter' && event.key !== ' ')) return;
        event.preventDefault();
        enlarge(enlarged === this ? null : this);
      });
      this.video.addEventListener('playing', () => {
        this.retryMs = RETRY_FIRST_MS;
        this.progress = { time: this.video.currentTime, at: performance.now() };
        this.show('playing');
      });
      wall.append(this.figure);
      this.show('connecting');
    }

    show(base) {
      this.base = base;
      this.render();
    }

    render() {
      let state = this.base;
      const plays = this.player && (state === 'playing' || state === 'still');
      // Of a stream that begins nothing has been seen that could be interrupted.
      const begins = this.live.state === 'starting' && this.video.currentTime === 0;
      if (plays && AWAY.includes(this.live.state) && !begins) state = 'interrupted';
      else if (plays && state === 'playing' && this.live.state === 'slate') state = 'slate';
      if (state === this.shown.state && this.badge.textContent) return;
      this.shown.state = state;
      this.shown.words = WORDS[state];
      this.badge.textContent = WORDS[state];
      this.figure.dataset.state = state;
      this.figure.setAttribute('aria-label', this.id + ', ' + WORDS[state]);
    }

    note(what) {
      this.shown.errors.push(String(what));
      // A page that is open for days must not grow with it.
      if (this.shown.errors.length > 20) this.shown.errors.shift();
    }

    discard() {
      clearTimeout(this.timer);
      this.visit += 1;
      const old = this.player;
      this.player = null;
      if (!old) return;
      try { old.destroy(); } catch (error) { this.note(error); }
    }

    retry(state) {
      this.discard();
      this.show(state);
      // The pauses vary, so that a wall of tiles does not come back in the same instant.
      this.timer = setTimeout(() => this.connect(), this.retryMs * (0.75 + Math.random() / 2));
      this.retryMs = Math.min(this.retryMs * 2, RETRY_MAX_MS);
    }

    // A browser does not tell why a WebSocket was refused, and the player not why a stream was: a request for its head does.
    async ask() {
      const mine = this.visit;
      let state = 'lost';
      try {
        const answer = await fetch(address(this.id, 'live.flv', false), { method: 'HEAD', cache: 'no-store' });
        if (answer.status === 404) state = absence(await this.learn());
        else if (answer.status === 401 || answer.status === 403) state = 'denied';
      } catch (error) { this.note(error); }
      if (mine === this.visit) this.retry(state);
    }

    // What `live.json` says.
    async learn() {
      const { status, text } = await window.millstreamLive.ask(address(this.id, 'live.json', false));
      try {
        return status === 200 ? JSON.parse(text) : { state: 'unknown' };
      } catch (error) {
        return { state: 'unknown' };
      }
    }

    // Asks about the stream while it plays, when it is its turn.
    async follow(now) {
      const isTroubled = this.curious || now - this.progress.at > QUIET_MS || this.live.state !== 'live';
      const pauseMs = Math.max(isTroubled ? POLL.troubled : POLL.calm, tiles.length * POLL.apart);
      if (!this.player || this.asking || document.hidden || now - this.askedAt < pauseMs) return;
      this.asking = true;
      this.askedAt = now;
      this.curious = false;
      const mine = this.visit;
      const live = await this.learn();
      this.asking = false;
      if (mine !== this.visit) return;
      this.live = live;
      this.render();
    }

    connect() {
      this.discard();
      const mine = this.visit;
      const current = (act) => (...args) => { if (mine === this.visit) act(...args); };
      this.shown.attempts += 1;
      if (this.base === 'unsupported') return;
      this.live = { state: 'unknown' };
      this.curious = true;
      this.progress = { time: -1, at: performance.now() };
      this.shown.url = address(this.id, 'live.flv', !shared);
      const player = window.millstreamFlv(this.shown.url, { maxS: LATENCY_MAX_S, remainS: LATENCY_REMAIN_S, keptS: KEPT_S });
      player.on(mpegts.Events.ERROR, current((kind, detail, info) => {
        this.note(kind + ': ' + detail + (info && info.msg ? ' ' + info.msg : ''));
        const details = mpegts.ErrorDetails;
        if (detail === details.MEDIA_CODEC_UNSUPPORTED || (detail === details.MEDIA_MSE_ERROR && /unsupported|not supported/i.test(info && info.msg))) {
          this.discard();
          this.show('unsupported');
        } else if (kind === mpegts.ErrorTypes.NETWORK_ERROR) {
          this.discard();
          this.ask();
        } else {
          this.retry('lost');
        }
      }));
      // `["waiting", unix]`: the publisher has gone.
      player.on(mpegts.Events.SCRIPTDATA_ARRIVED, current((script) => {
        const news = script && script.onCuePoint;
        if (Array.isArray(news) && news[0] === 'waiting') this.curious = true;
      }));
      player.on(mpegts.Events.LOADING_COMPLETE, current(() => {
        this.discard();
        this.ask();
      }));
      this.player = player;
      this.crossHoles = window.millstreamHoles(this.video);
      player.attachMediaElement(this.video);
      player.load();
      const started = this.video.play();
      // What keeps a muted video from playing is told by the player's own events.
      if (started) started.catch((error) => { if (error.name !== 'AbortError') this.note(error); });
    }

    look(now) {
      const { video, shown } = this;
      const quality = video.getVideoPlaybackQuality ? video.getVideoPlaybackQuality() : { totalVideoFrames: 0 };
      const ranges = video.buffered;
      shown.currentTime = video.currentTime;
      shown.frames = quality.totalVideoFrames;
      shown.latency = ranges.length ? ranges.end(ranges.length - 1) - video.currentTime : NaN;
      shown.muted = video.muted;
      if (video.currentTime !== this.progress.time) {
        this.progress = { time: video.currentTime, at: now };
        if (this.base === 'still') {
          this.curious = true;
          this.show('playing');
        }
        return;
      }
      // A page out of sight is slowed down by the browser: that is no fault of the stream's.
      if (!this.player || document.hidden) return;
      const still = now - this.progress.at;
      // While the publisher is away there is nothing that a new connection would bring.
      if (still > STALL_MS && !AWAY.includes(this.live.state)) {
        this.note('no picture for ' + Math.round(still / 1000) + ' s');
        this.retry('lost');
      } else if (still > STILL_MS && (this.base === 'playing' || this.base === 'connecting')) {
        this.show('still');
      }
    }

    toLive() {
      const ranges = this.video.buffered;
      if (ranges.length && this.shown.latency > LATENCY_MAX_S) this.video.currentTime = ranges.end(ranges.length - 1) - LATENCY_REMAIN_S;
    }
  }

  // One tile large and heard, the others small and silent; none: all small and silent.
  function enlarge(tile) {
    enlarged = tile;
    for (const each of tiles) {
      const large = each === tile;
      each.figure.classList.toggle('large', large);
      each.figure.setAttribute('aria-pressed', String(large));
      each.video.muted = !large;
    }
    if (tile) tile.figure.scrollIntoView({ block: 'nearest' });
  }

  // As many columns as make the tiles largest.
  function arrange() {
    const { clientWidth: width, clientHeight: height } = wall;
    const gap = parseFloat(getComputedStyle(wall).columnGap) || 0;
    let best = { columns: 1, size: 0 };
    for (let columns = 1; columns <= tiles.length; columns += 1) {
      const rows = Math.ceil(tiles.length / columns);
      const free = { width: width - gap * (columns - 1), height: height - gap * (rows - 1) };
      const size = Math.min(free.width / columns, ((free.height / rows) * 16) / 9);
      if (size > best.size) best = { columns, size };
    }
    // On a narrow screen tiles that can be seen are worth more than a wall without a scroll bar.
    const columns = Math.min(best.columns, Math.max(1, Math.floor(width / 120)));
    wall.style.setProperty('--columns', String(columns));
    wall.style.setProperty('--tile', columns === best.columns ? Math.floor(best.size) + 'px' : '1fr');
  }

  const { ids, notes } = names();
  if (!ids.length) notes.push('Give the streams in the address: wall.html?streams=one,two,three — or here:');
  $('ask').hidden = ids.length > 0;
  $('notice').textContent = notes.join(' ');
  $('notice').hidden = !notes.length;
  $('count').textContent = ids.length ? ids.length + (ids.length === 1 ? ' stream' : ' streams') : '';
  for (const id of ids) tiles.push(new Tile(id));
  arrange();
  window.addEventListener('resize', arrange);
  if (!window.mpegts || !mpegts.getFeatureList().mseLivePlayback) {
    tiles.forEach((tile) => tile.show('unsupported'));
    return;
  }
  tiles.forEach((tile, n) => { tile.timer = setTimeout(() => tile.connect(), n * STAGGER_MS); });
  setInterval(() => {
    const now = performance.now();
    for (const tile of tiles) {
      tile.look(now);
      tile.follow(now);
    }
  }, LOOK_EVERY_MS);
  setInterval(() => tiles.forEach((tile) => { if (tile.player) tile.crossHoles(); }), CROSS_EVERY_MS);
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape') enlarge(null); });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    const now = performance.now();
    for (const tile of tiles) {
      tile.progress.at = now;
      tile.toLive();
    }
  });
  window.addEventListener('online', () => tiles.forEach((tile) => { if (tile.base === 'lost') tile.connect(); }));
  window.addEventListener('pagehide', () => tiles.forEach((tile) => tile.discard()));
  window.addEventListener('pageshow', (event) => { if (event.persisted) tiles.forEach((tile) => tile.connect()); });
})();
