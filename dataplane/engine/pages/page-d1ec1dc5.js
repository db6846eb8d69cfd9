// What all player pages share: it opens the stream beside it in one of several ways, says in words what is wrong, and comes back by itself.
//
// A way (`way-flv`, `way-hls`, `way-dash`) registers itself in `window.millstreamWays` before this runs. The page's body says which one it
// plays; `auto` takes the quickest that this browser can play and that the server has, falls back to a slower one where that does not work, and
// goes back when it does. Whether the stream is on air is the server's to say (`millstreamLive`). Nothing here becomes HTML: texts are set as
// textContent. `window.millstream` shows the state to tests and to the curious.
'use strict';
(() => {
  const RETRY_FIRST_MS = 1000;
  const RETRY_MAX_MS = 8000;
  // A picture that stands still for this long with the page in view is a lost connection that nobody has told us of.
  const STALL_MS = 10000;
  // A way that shows nothing for this long, of a stream that is on air, does not work here.
  const START_MS = 10000;
  // The quickest first.
  const ORDER = ['flv', 'hls', 'dash'];
  // A way that failed so often in a row is left alone, for longer each time.
  const FAILURES_MAX = 2;
  const LEFT_ALONE_FIRST_MS = 30000;
  const LEFT_ALONE_MAX_MS = 600000;
  // A way that has played for this long works.
  const WORKS_MS = 60000;
  // How often the server is asked about the stream.
  const POLL = { troubled: 600, absent: 2000, hidden: 10000, calm: 10000 };
  // A player that has not both tracks by then asks often for so long: the server says within seconds which tracks nobody can play.
  const FRESH_MS = 5000;
  // A stream of one track may get the other: it is asked for often so long.
  const LATE_MS = 60000;
  // A track that the player has not is waited for so long before the player starts again with it, so often at most.
  const LATE_AFTER_MS = 1500;
  const LATE_TRIES_MAX = 3;
  // The level that leaves the choice to the player, and the stream as its publisher sends it.
  const AUTO = 'auto';
  const SOURCE = 'source';
  // How far back the first step goes.
  const BACK_S = 30;
  // A picture that stands still after the server has said that the stream is over has shown its end.
  const STILL_MS = 400;
  const END_MS = 6000;

  const $ = (id) => document.getElementById(id);
  const video = $('video');
  const names = location.pathname.split('/');
  const id = names.length >= 3 ? names[names.length - 2] : '';
  const ways = window.millstreamWays || {};
  const asked = document.body.dataset.way;
  const titles = { flv: 'HTTP-FLV', hls: 'HLS', dash: 'DASH' };
  // The page's own query goes along, or a grant that was got with the token in it.
  const grants = window.millstreamGrant({ onDenied: deny, note });
  const url = grants.url;
  const plainUrl = (name) => new URL(name + location.search, location.href).href;

  let chosen = asked;
  // Which of the stream's renditions is played; where it has none of that name any more, the player chooses.
  let level = new URLSearchParams(location.search).get('level') || AUTO;
  let way = null;
  let playing = null;
  // The page's own part of the state: what the player does. What is shown also depends on what the server says.
  let base = 'connecting';
  let text = '';
  let visit = 0;
  let timer = 0;
  let retryMs = RETRY_FIRST_MS;
  let opened = 0;
  let startedAt = 0;
  let progress = { time: -1, at: 0 };
  let edge = { end: -1, at: 0 };
  let live = { state: 'unknown' };
  let overSince = 0;
  // This page has seen the stream on air; and its end, which the server may say a moment later.
  let seen = false;
  let over = false;
  let probing = false;
  let closing = 0;
  // Where the visitor has gone back to, in a stream that is recorded: so many seconds behind, to begin with; null plays it live.
  let past = null;
  let dragging = false;
  // Of each way: failures in a row, until when it is left alone and for how long, and the publication that it cannot play.
  let record = {};
  // The kinds of track that the player has, once it says so.
  let has = null;
  // Of the publication: since when the server has a track that the player has not, and how often it was started again for that.
  let late = { publication: null, since: 0, tries: 0 };

  const now = () => performance.now();
  const of = (name) => (record[name] = record[name] || { failures: 0, until: 0, pause: 0, cannot: null });
  const quality = () => (video.getVideoPlaybackQuality ? video.getVideoPlaybackQuality() : null);
  const report = window.millstreamReport(video);
  const clock = window.millstreamLive.clock(new URL('../time', location.href).href);
  const shown = {
    way: '',
    player: '',
    state: 'connecting',
    message: '',
    errors: [],
    attempts: 0,
    codecs: '',
    get currentTime() { return video.currentTime; },
    // Seconds from a picture's arrival at the server to its being on the screen.
    get latency() { return playing && clock.known() ? playing.delay(clock.now()) : NaN; },
    get bitsPerSecond() { return playing ? playing.bits() : 0; },
    get frames() { return quality() ? quality().totalVideoFrames : 0; },
    get dropped() { return quality() ? quality().droppedVideoFrames : 0; },
    get live() { return live; },
    get ways() { return record; },
    get past() { return past; },
    get report() { return said(); },
    get level() { return level; },
    get levels() { return levels(); },
    grants: grants.shown,
  };
  window.millstream = shown;

  // What the page tells of how it plays; whether the question that is under way says how long the start took.
  let startAsked = false;
  function said() {
    const state = video.paused ? 'a' : base === 'playing' ? 'p' : 's';
    // In the past it is behind because the visitor wants it.
    return playing ? report.text({ way: shown.way, state, bits: shown.bitsPerSecond, delay: past ? NaN : shown.latency }) : '';
  }

  function statusUrl() {
    const text = said();
    startAsked = text.includes('msd=');
    if (!text) return url('live.json');
    const address = new URL(url('live.json'), location.href);
    address.searchParams.set('CMCD', text);
    return address.href;
  }

  const badges = {
    connecting: 'connecting', playing: 'live', waiting: 'not on air', lost: 'reconnecting', unsupported: 'cannot play', blocked: 'paused',
    interrupted: 'interrupted', silent: 'no signal', slate: 'be right back', off: 'switched off', denied: 'no permission', past: 'recorded',
  };
  const INTERRUPTED = 'The broadcast is interrupted. It goes on here as soon as it is back.';
  const SILENT = 'Nothing comes from the broadcaster at the moment. It goes on here as soon as something does.';
  const STARTING = 'The broadcaster is back, and has sent nothing yet. It goes on here as soon as something comes.';
  const NOT_ON_AIR = 'This stream is not on air. The page starts it as soon as it is.';
  const ENDED = 'The broadcast has ended. If it comes back, so does the picture.';

  // What is shown, of what the player does and what the server says.
  function render() {
    let [state, message] = [base, text];
    const troubled = base === 'playing' || base === 'connecting' || base === 'lost';
    if (state === 'waiting' && message === INTERRUPTED) state = 'interrupted';
    if (base === 'playing' && past && !isAtItsEnd()) [state, message] = ['past', ''];
    else if (troubled && live.state === 'waiting') [state, message] = ['interrupted', INTERRUPTED];
    else if (base === 'playing' && live.state === 'silent') [state, message] = ['silent', isStill(STILL_MS) ? SILENT : ''];
    // Its publisher is there again: what is on the screen is from before.
    else if (base === 'playing' && live.state === 'starting') [state, message] = ['interrupted', isStill(STILL_MS) ? STARTING : ''];
    else if (base === 'playing' && live.state === 'off') [state, message] = ['waiting', ''];
    else if (base === 'playing' && live.state === 'slate') [state, message] = ['slate', ''];
    if (state === shown.state && message === shown.message) return;
    shown.state = state;
    shown.message = message;
    $('badge').dataset.state = state;
    $('badge').textContent = badges[state];
    $('message').textContent = message;
    $('notice').hidden = !message;
    $('elsewhere').hidden = state !== 'off' || asked === 'auto';
    $('retry').hidden = !['lost', 'blocked', 'unsupported', 'denied', 'waiting'].includes(state);
    $('retry').textContent = state === 'blocked' ? 'Play' : 'Try now';
    showMute();
  }

  function show(state, message) {
    [base, text] = [state, message || ''];
    render();
  }

  function note(what, detail) {
    shown.errors.push(what + ': ' + (detail && detail.message ? detail.message : String(detail)));
    // The list is for looking at; a page that is open for days must not grow with it.
    if (shown.errors.length > 50) shown.errors.shift();
  }

  const isStill = (ms) => now() - progress.at > ms;
  // What the broadcaster does now is nothing to who watches the past, until all that is recorded has been shown.
  const isAtItsEnd = () => !['live', 'slate'].includes(live.state) && isStill(STILL_MS) && !video.paused && !video.seeking;
  const isOnAir = () => !['off', 'denied'].includes(live.state);

  function discard() {
    clearTimeout(timer);
    timer = 0;
    visit += 1;
    report.ends();
    if (playing) {
      const old = playing;
      playing = null;
      try { old.close(); } catch (error) { note('close', error); }
    }
  }

  // Retries with growing pauses; the pause varies so that a thousand pages do not come back in the same instant.
  function retry(state, message) {
    failed();
    discard();
    show(state, message);
    poller.within(0);
    timer = setTimeout(connect, retryMs * (0.75 + Math.random() / 2));
    retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
  }

  // Counts a failure of the way against it, where it is the way's and not the broadcast's or the network's.
  function failed() {
    if (!way || !['live', 'starting', 'slate'].includes(live.state)) return;
    const one = of(shown.way);
    one.failures += 1;
    if (one.failures >= FAILURES_MAX) leaveAlone(shown.way);
  }

  function leaveAlone(name) {
    const one = of(name);
    one.failures = 0;
    one.pause = Math.min(Math.max(one.pause * 2, LEFT_ALONE_FIRST_MS), LEFT_ALONE_MAX_MS);
    one.until = now() + one.pause;
  }

  // This way leads nowhere in this browser, as long as this broadcast lasts.
  function giveUp(message) {
    discard();
    of(shown.way).cannot = live.publication || 'any';
    if (chosen === 'auto' && pick()) return connect();
    show('unsupported', message);
  }

  // The player says that the stream is over; whether it is, the server says.
  function ended() {
    past = null;
    discard();
    finish();
    live = { ...live, state: 'off' };
    poller.poll();
    timer = setTimeout(connect, RETRY_FIRST_MS * 2);
  }

  function finish() {
    [over, overSince] = [true, 0];
    show('waiting', ENDED);
  }

  // What an HTTP status means to a visitor.
  function answered(status) {
    if (status === 404 && past) toLive();
    else if (status === 404) retry('waiting', NOT_ON_AIR);
    else if (status === 401 || status === 403) refused();
    else if (status === 503) retry('lost', 'The server is busy. Trying again.');
    else retry('lost', 'The server cannot serve this stream now (' + Number(status) + '). Trying again.');
  }

  // A grant may have ended while the network or this machine was away.
  async function refused() {
    if (!grants.wanted) return deny();
    const mine = visit;
    const state = await grants.renew();
    if (state !== 'denied' && mine === visit) retry('lost', 'The permission to watch is asked for again.');
  }

  function deny() {
    live = { ...live, state: 'denied' };
    discard();
    show('denied', 'You may not watch this stream: its address has no valid permission, or no longer.');
  }

  const codecNames = [
    [/^(hvc1|hev1)/, 'HEVC (H.265)'], [/^av01/, 'AV1'], [/^avc1/, 'H.264'], [/^(mp4a\.(69|6b)|\.?mp3)/i, 'MP3'], [/^mp4a/, 'AAC'],
    [/^opus/i, 'Opus'], [/^vp0?9/, 'VP9'], [/^ac-3/, 'AC-3'], [/^ec-3/, 'E-AC-3'], [/^flac/i, 'FLAC'],
  ];

  // What a browser plays if it is sent as it should be.
  const PLAYABLE = /^(H\.264|HEVC|H\.265|AV1|AAC|Opus|MP3|VP9)/;

  function readable(codec) {
    const found = codecNames.find(([pattern]) => pattern.test(codec));
    return found ? found[1] : codec;
  }

  // Says what the stream is made of; whether this browser can play it. `codecs`: names as in RFC 6381, each with 'video' or 'audio'.
  function made(codecs) {
    const source = window.ManagedMediaSource || window.MediaSource;
    shown.codecs = codecs.map(([, codec]) => codec).join(', ');
    has = codecs.map(([kind]) => kind);
    $('codecs').textContent = codecs.map(([, codec]) => readable(codec)).join(', ') || '–';
    const bad = source && codecs.find(([kind, codec]) => !source.isTypeSupported(kind + '/mp4; codecs="' + codec + '"'));
    if (!bad) return true;
    const what = bad[0] === 'video' ? 'picture' : 'sound';
    giveUp('The ' + what + ' of this stream is ' + readable(bad[1]) + ', which this browser cannot play. Another browser or VLC may.');
    return false;
  }

  function load(script) {
    return new Promise((done, failed) => {
      const element = document.createElement('script');
      element.src = script;
      element.onload = done;
      element.onerror = () => { element.remove(); failed(new Error(script + ' does not load')); };
      document.head.append(element);
    });
  }

  // Names of the renditions, the largest first; none of a stream that has none.
  const levels = () => (live.renditions || []).map((one) => one.name).reverse();
  const levelNow = () => ([AUTO, SOURCE, ...levels()].includes(level) ? level : AUTO);

  const isOff = (name) => Boolean(live.outputs) && live.outputs[name] === false;

  function usable() {
    return ORDER.filter((name) => {
      const { cannot } = of(name);
      return ways[name] && ways[name].likely() && !isOff(name) && cannot !== 'any' && (cannot === null || cannot !== live.publication);
    });
  }

  // The way to take: the quickest that is not left alone, else the one that will be tried again first.
  function pick() {
    if (chosen !== 'auto') return chosen;
    const all = usable();
    return all.find((name) => of(name).until <= now()) || all.sort((a, b) => of(a).until - of(b).until)[0];
  }

  async function connect() {
    discard();
    if (live.state === 'denied') return deny();
    // Who comes while the publisher is away sees no old picture: the server says when there is a new one.
    if (live.state === 'off' || live.state === 'waiting') return settle();
    const name = past ? 'hls' : pick();
    if (!name || isOff(name)) return switchedOff(name);
    const mine = visit;
    // Where there is no grant to be had, the token itself goes along.
    if (grants.wanted && (await grants.ready()) === 'denied') return deny();
    if (mine !== visit) return;
    way = ways[name];
    shown.attempts += 1;
    shown.way = name;
    has = null;
    if (base !== 'lost') show('connecting', '');
    markChoice();
    // What an old player still has to say is about a connection that is given up.
    const current = (act) => (...args) => (mine === visit ? act(...args) : undefined);
    try {
      if (!way.ready()) await load(way.library);
      if (mine !== visit) return;
      if (!way.supported()) return giveUp(way.unsupported);
      progress = { time: -1, at: now() };
      edge = { end: -1, at: now() };
      opened = now();
      startedAt = 0;
      report.wants();
      playing = way.open({
        video,
        past,
        // Where there are renditions: the one to play, `auto` or `source`; else null.
        level: levels().length ? levelNow() : null,
        url,
        plainUrl,
        swap: grants.swap,
        clock,
        retry: current(retry),
        again: current(again),
        giveUp: current(giveUp),
        answered: current(answered),
        ended: current(ended),
        made: current(made),
        // The stream itself says that its publisher has gone, or is there.
        onAir: current((isThere) => {
          if (isThere === (live.state === 'waiting')) {
            live = { ...live, state: isThere ? 'live' : 'waiting' };
            render();
            // For the rest of what is known; not all at once.
            poller.within(Math.random() * 500);
          }
        }),
        note,
        current,
        play,
      });
      shown.player = playing.name;
    } catch (error) {
      note('open', error);
      if (mine === visit) retry('lost', 'The player could not be started. Trying again.');
    }
  }

  function switchedOff(name) {
    markChoice();
    if (chosen === 'auto' && ORDER.every(isOff)) show('off', 'This stream is not given out to browsers.');
    else if (chosen === 'auto') {
      show('unsupported', 'This browser can play none of the formats of this stream. VLC can: open the address of live.flv or live.m3u8 there.');
    } else show('off', titles[name] + ' is switched off for this stream.');
  }

  // The server says that there is nothing to play now.
  function settle() {
    if (live.state === 'waiting' && !over) return show('waiting', INTERRUPTED);
    if (chosen !== 'auto' && isOff(chosen)) return switchedOff(chosen);
    show('waiting', seen ? ENDED : NOT_ON_AIR);
  }

  // Whether the player began without a track that came later, and goes on without it: players read once which tracks there are.
  function lacks(said) {
    if (late.publication !== said.publication) late = { publication: said.publication, since: 0, tries: 0 };
    const leftOut = ({ kind }) => (said.left_out || []).some((out) => out.kind === kind && (out.outputs || []).includes(shown.way));
    const missing = playing && has && has.length && (said.tracks || []).some((track) => !has.includes(track.kind) && !leftOut(track));
    if (!missing) {
      late.since = 0;
      return false;
    }
    late.since = late.since || now();
    if (now() - late.since < LATE_AFTER_MS || late.tries >= LATE_TRIES_MAX) return false;
    late.since = 0;
    late.tries += 1;
    note('late', 'there is a track that the player has not');
    return true;
  }

  // A track has come that the player cannot take while it plays.
  function again() {
    if (late.tries >= LATE_TRIES_MAX) return retry('lost', 'The picture broke off. Starting again.');
    late.tries += 1;
    note('late', 'the player cannot take another track');
    discard();
    connect();
  }

  // What the server says of the stream.
  function onStatus(said) {
    const before = live;
    if (said.state === 'unreachable') {
      // The player may have all that it needs; one that has not is told of it here.
      if (!playing && base !== 'unsupported') show('lost', 'The server cannot be reached. Trying again.');
      if (live.state === 'unknown' && !playing) live = said;
      return render();
    }
    if (said.state === 'denied' && grants.wanted && base === 'playing') return refused();
    if (startAsked) report.told();
    startAsked = false;
    live = said;
    if (said.state === 'denied') return deny();
    if (said.publication && said.publication !== before.publication) record = {};
    showNotes();
    markChoice();
    showLevels();
    seen = seen || isOnAir();
    // Nobody waits for the picture of a stream that is not there: its start counts from when it is.
    if (!isOnAir() || said.state === 'waiting') report.rests();
    if (said.state === 'live' || said.state === 'slate') over = false;
    if (!isOnAir()) {
      // What is still to be shown is shown; a player that is left alone would begin with the last minute again.
      overSince = overSince || now();
      if (!playing) settle();
    } else {
      overSince = 0;
      const waits = ['waiting', 'connecting', 'off', 'lost'].includes(base) || base === 'unsupported' && before.publication !== said.publication;
      if (playing && isOff(shown.way) || said.state === 'live' && lacks(said)) {
        discard();
        connect();
      } else if (!playing && !timer && waits && said.state !== 'waiting') connect();
      else if (!playing && said.state === 'waiting' && waits) settle();
      else if (!playing && base === 'waiting') {
        // It is on air: no reason to wait longer.
        retryMs = RETRY_FIRST_MS;
        connect();
      }
    }
    render();
  }

  // A track that the player has not, or not yet, and of which nothing has been said.
  const isTrackMissing = () => (!has || has.length < 2) && !(live.left_out || []).length;

  function pauseMs() {
    const still = playing && base === 'playing' && !video.paused && now() - edge.at > way.quietMs;
    if (document.hidden && !still) return POLL.hidden;
    if (live.state === 'off' || live.state === 'denied' || live.state === 'unreachable') return POLL.absent;
    if (still || ['waiting', 'slate', 'silent', 'starting'].includes(live.state) || !playing) return POLL.troubled;
    if (late.since || isTrackMissing() && now() - opened < FRESH_MS) return POLL.troubled;
    if (has && has.length === 1 && now() - opened < LATE_MS) return POLL.absent;
    return way && way.pollMs ? way.pollMs : POLL.calm;
  }

  function play() {
    const started = video.play();
    if (!started) return;
    started.catch((error) => {
      // A browser that forbids even muted autoplay wants a click; anything else is told by the player's own events.
      if (error.name === 'NotAllowedError') show('blocked', 'Press play to start.');
    });
  }

  function look() {
    const at = now();
    const { buffered, currentTime } = video;
    const end = buffered.length ? buffered.end(buffered.length - 1) : -1;
    const wentBack = currentTime < progress.time - 1;
    if (currentTime !== progress.time) {
      progress = { time: currentTime, at };
      if (playing && base === 'playing') report.moves();
    }
    if (end !== edge.end) edge = { end, at };
    if (!playing) return render();
    const isWatched = !video.paused && !document.hidden;
    if (overSince && !past && (isStill(STILL_MS) || wentBack || at - overSince > END_MS)) {
      discard();
      finish();
    } else if (base === 'playing' && isWatched && isStill(STALL_MS) && !['waiting', 'silent', 'starting'].includes(live.state)) {
      note('stall', 'no picture for ' + Math.round((at - progress.at) / 1000) + ' s');
      retry('lost', 'Nothing comes any more. Trying again.');
    } else if (['connecting', 'lost'].includes(base) && !document.hidden && at - opened > START_MS && ['live', 'slate'].includes(live.state)) {
      note('start', 'no picture in ' + START_MS / 1000 + ' s');
      retry('lost', 'No picture comes this way. Trying again.');
    } else if (base === 'playing') {
      // Nothing new has come for a while: is the publisher there?
      if (isWatched && at - edge.at > way.quietMs && at - edge.at < way.quietMs + 300) poller.within(0);
      if (startedAt && at - startedAt > WORKS_MS) Object.assign(of(shown.way), { failures: 0, pause: 0 });
      lookForQuicker();
    }
    render();
  }

  // A quicker way than the one that plays, which was left alone for long enough, is tried beside the picture, and taken if it works.
  async function lookForQuicker() {
    if (chosen !== 'auto' || past || probing || document.hidden || !isOnAir() || live.state === 'waiting') return;
    const quicker = usable().slice(0, Math.max(0, usable().indexOf(shown.way))).find((name) => of(name).until <= now());
    if (!quicker) return;
    probing = true;
    const mine = visit;
    const works = await ways[quicker].probe(url).catch(() => false);
    probing = false;
    if (!works) return leaveAlone(quicker);
    of(quicker).until = 0;
    if (mine === visit && chosen === 'auto') connect();
  }

  function showFigures() {
    const delay = shown.latency;
    const bits = shown.bitsPerSecond;
    const isShown = ['playing', 'slate', 'past'].includes(shown.state) && delay > -1;
    $('delay').textContent = isShown ? Math.max(0, delay).toFixed(1) + ' s' : '–';
    $('rate').textContent = bits > 0 ? (bits / 1e6).toFixed(2) + ' Mbit/s' : '–';
    $('picture').textContent = video.videoWidth ? video.videoWidth + ' × ' + video.videoHeight : '–';
  }

  // Tracks that the way which plays does not carry.
  function showNotes() {
    const name = shown.way || (chosen === 'auto' ? 'flv' : chosen);
    const missing = (live.left_out || []).filter((track) => (track.outputs || []).includes(name));
    const what = (track) => 'The ' + (track.kind === 'video' ? 'picture' : 'sound') + ' of this stream is ' + readable(track.codec);
    // The server's reason tells the operator what to set; a visitor cannot.
    const why = (track) => {
      if (!track.outputs.includes('flv') && isOff('flv')) return ', which ' + titles[name] + ' cannot carry; HTTP-FLV could, and is switched off for this stream.';
      if (!track.outputs.includes('flv')) return ', which ' + titles[name] + ' cannot carry: HTTP-FLV has it.';
      if (PLAYABLE.test(readable(track.codec))) return ', but the broadcaster sends it in a way that no player understands.';
      return ', which players on the web cannot play.';
    };
    const lines = missing.map((track) => what(track) + why(track)).join(' ');
    if ($('notes').textContent !== lines) $('notes').textContent = lines;
    $('notes').hidden = !lines;
  }

  function showMute() {
    $('unmute').hidden = !$('notice').hidden || !(video.muted || video.volume === 0);
  }

  // The page that offers a choice has a button for each way, and one for none in particular.
  function markChoice() {
    for (const button of document.querySelectorAll('[data-choose]')) {
      const name = button.dataset.choose;
      button.setAttribute('aria-pressed', String(name === chosen));
      button.disabled = isOff(name);
      button.title = isOff(name) ? 'Switched off for this stream' : '';
    }
    if ($('way')) $('way').textContent = way ? way.title : '–';
    showNotes();
  }

  // Only the page that offers a choice has the bar, and only of a stream that is recorded is it to be seen.
  function showPast() {
    if (!$('past')) return;
    const hls = ways.hls;
    const can = Boolean(live.dvr) && isOnAir() && hls && hls.likely() && !isOff('hls');
    const range = past && playing && playing.range ? playing.range() : null;
    $('past').hidden = !can && !past;
    $('goback').hidden = Boolean(past);
    for (const name of ['seek', 'behind', 'tolive']) $(name).hidden = !past;
    if (!range) return;
    const seek = $('seek');
    seek.min = String(-Math.max(1, Math.round(range.end - range.start)));
    if (!dragging) seek.value = String(Math.min(0, video.currentTime - range.end));
    const behind = Math.max(0, -Number(seek.value));
    const two = (number) => String(Math.floor(number)).padStart(2, '0');
    const words = (behind >= 3600 ? Math.floor(behind / 3600) + ':' : '') + two(behind / 60 % 60) + ':' + two(behind % 60);
    $('behind').textContent = '−' + words;
    seek.setAttribute('aria-valuetext', words + ' behind live');
  }

  function goBack() {
    past = { behind: BACK_S };
    showLevels();
    retryMs = RETRY_FIRST_MS;
    show('connecting', '');
    connect();
    showPast();
  }

  function toLive() {
    past = null;
    showLevels();
    retryMs = RETRY_FIRST_MS;
    show('connecting', '');
    connect();
    showPast();
  }

  // The menu of renditions: only of a stream that has some, and live.
  function showLevels() {
    const all = levels();
    const menu = $('level');
    const known = [AUTO, SOURCE, ...all];
    $('levels').hidden = !all.length || Boolean(past);
    if ([...menu.options].map((option) => option.value).join() !== known.join()) {
      const of = (name) => (live.renditions || []).find((one) => one.name === name);
      const source = (live.tracks || []).find((track) => track.kind === 'video' && track.height);
      const label = (name) => {
        if (name === AUTO) return 'Automatic';
        if (name === SOURCE) return source ? 'Original (' + source.width + ' × ' + source.height + ')' : 'Original';
        return name + ' (' + of(name).width + ' × ' + of(name).height + ')';
      };
      menu.replaceChildren(...known.map((name) => new Option(label(name), name)));
    }
    if (document.activeElement !== menu || menu.value === '') menu.value = levelNow();
  }

  function chooseLevel(name) {
    if (name === level) return;
    level = name;
    // A player that can switch does so at the next segment; the others begin anew.
    if (playing && playing.setLevel && playing.setLevel(name)) return;
    retryMs = RETRY_FIRST_MS;
    show('connecting', '');
    connect();
  }

  function choose(name) {
    past = null;
    chosen = name;
    record = {};
    retryMs = RETRY_FIRST_MS;
    show('connecting', '');
    connect();
  }

  video.addEventListener('playing', () => {
    if (!playing) return;
    retryMs = RETRY_FIRST_MS;
    startedAt = startedAt || now();
    progress = { time: video.currentTime, at: now() };
    show('playing', '');
  });
  video.addEventListener('waiting', () => {
    if (playing && base === 'playing') report.stands(video.seeking || video.paused || live.state !== 'live');
  });
  video.addEventListener('volumechange', showMute);
  video.addEventListener('play', () => {
    // Who pauses a live stream and goes on wants to see what is happening now.
    if (playing) playing.toLive();
    progress = { time: video.currentTime, at: now() };
    if (base === 'blocked') show('connecting', '');
  });
  $('unmute').addEventListener('click', () => {
    video.muted = false;
    if (video.volume === 0) video.volume = 1;
    if (video.paused) play();
    video.focus();
  });
  $('retry').addEventListener('click', () => {
    if (base === 'blocked') return play();
    retryMs = RETRY_FIRST_MS;
    record = {};
    live = { state: 'unknown' };
    show('connecting', '');
    poller.poll();
  });
  for (const button of document.querySelectorAll('[data-choose]')) {
    button.addEventListener('click', () => choose(button.dataset.choose));
  }
  $('level').addEventListener('change', () => chooseLevel($('level').value));
  if ($('past')) {
    $('goback').addEventListener('click', goBack);
    $('tolive').addEventListener('click', toLive);
    $('seek').addEventListener('input', () => { dragging = true; showPast(); });
    $('seek').addEventListener('change', () => {
      dragging = false;
      const range = past && playing && playing.range ? playing.range() : null;
      if (!range) return;
      const behind = -Number($('seek').value);
      past = { behind };
      video.currentTime = Math.max(range.start + 0.5, range.end - behind);
      if (video.paused) play();
    });
  }
  window.addEventListener('online', () => poller.within(0));
  document.addEventListener('visibilitychange', () => { if (!document.hidden) poller.within(0); });
  window.addEventListener('pagehide', () => { closing = 1; discard(); });
  window.addEventListener('pageshow', (event) => { if (event.persisted && closing) connect(); closing = 0; });
  document.addEventListener('keydown', (event) => {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (event.key === 'm' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) video.muted = !video.muted;
  });

  if (id) {
    $('name').textContent = id;
    document.title = id + ' · live';
  }
  const query = new URLSearchParams(location.search);
  document.body.classList.toggle('embed', query.get('embed') === '1');
  document.body.classList.add('ready');
  $('other').href = plainUrl('index.html');
  video.muted = true;
  showMute();
  markChoice();
  const poller = window.millstreamLive.status(statusUrl, { onStatus, pauseMs, clock });
  poller.poll();
  setInterval(look, 200);
  setInterval(showFigures, 500);
  setInterval(showPast, 250);
})();
