// Play grants for a page whose address has a token: with it the page gets a grant, plays below `/g/<grant>/<id>/`, where caches give everyone the
// same bytes, and renews the grant before it ends. The token is in no address of the media then. Without a token, or where the server makes no
// grants, the page's own query goes along with each address instead. `inside`: where the page is below the stream's own path, as `rec/<recording>/`.
'use strict';
window.millstreamGrant = ({ onDenied, note, inside = '' }) => {
  const CREDENTIALS = ['token', 'jwt', 'sign'];
  // Of the page alone.
  const OF_PAGE = ['embed', 'level'];
  const AGAIN_MS = 2000;
  const TIMEOUT_MS = 8000;

  // The stream's own path, with a slash behind it.
  const page = location.pathname.replace(/[^/]*$/, '');
  const path = page.slice(0, page.length - inside.length);
  const names = path.split('/');
  const id = names.length >= 3 ? names[names.length - 2] : '';
  // The page itself may stand below a grant: without a token it plays by that one, and until it ends.
  const below = /^(.*\/)g\/([^/]*\.[^/]*)\/[^/]+\/$/.exec(path);
  const root = new URL(below ? below[1] : names.slice(0, -2).join('/') + '/', location.origin);
  const query = new URLSearchParams(location.search);
  const wanted = Boolean(id) && CREDENTIALS.some((name) => query.has(name));
  const rest = new URLSearchParams([...query].filter(([name]) => ![...CREDENTIALS, ...OF_PAGE].includes(name))).toString();
  const key = 'millstream-grant ' + root.pathname + id;

  // The session goes on when the page is loaded again, and holds no second place among a number of viewers.
  let grant = below ? below[2] : kept();
  let good = false;
  let endsAt = 0;
  let renewAt = 0;
  let timer = 0;
  let under = null;
  const shown = { wanted, renewals: 0, state: 'none' };

  function kept() {
    try { return sessionStorage.getItem(key) || ''; } catch (error) { return ''; }
  }

  function keep() {
    try { sessionStorage.setItem(key, grant); } catch (error) { /* It is a convenience. */ }
  }

  const now = () => performance.now();

  async function post() {
    const address = new URL(id + '/grant' + location.search, root);
    if (grant) address.searchParams.set('grant', grant);
    const controller = new AbortController();
    const giveUp = setTimeout(() => controller.abort(), TIMEOUT_MS);
    const asked = now();
    try {
      const answer = await fetch(address, { method: 'POST', cache: 'no-store', signal: controller.signal });
      if ([401, 402, 403, 451].includes(answer.status)) return 'denied';
      if (!answer.ok) return answer.status === 503 || answer.status === 429 ? 'busy' : 'none';
      const made = await answer.json();
      if (typeof made.grant !== 'string' || !(made.renew_in_ms > 0)) return 'none';
      grant = made.grant;
      [endsAt, renewAt] = [asked + made.expires_in_ms, asked + made.renew_in_ms];
      keep();
      return 'granted';
    } catch (error) {
      note('grant', error);
      return 'lost';
    } finally {
      clearTimeout(giveUp);
    }
  }

  // Asks once, whoever wants to know.
  function renew() {
    under = under || post().then((state) => {
      under = null;
      clearTimeout(timer);
      shown.state = state;
      if (state === 'granted') {
        if (good) shown.renewals += 1;
        good = true;
        timer = setTimeout(renew, Math.max(0, renewAt - now()));
      } else if (state === 'denied') {
        good = false;
        onDenied();
      } else if (good) {
        // The one that there is may still do.
        timer = setTimeout(renew, AGAIN_MS * (0.75 + Math.random() / 2));
      }
      return state;
    });
    return under;
  }

  // Timers of pages that are out of sight, and of machines that slept, are late.
  function look() {
    if (good && !document.hidden && now() > renewAt) renew();
  }
  document.addEventListener('visibilitychange', look);
  window.addEventListener('online', look);

  const isGood = () => good && now() < endsAt;

  return {
    shown,
    wanted,
    renew,
    // Whether there is one before anything is played: `granted`, `denied`, or what else came of it.
    ready: async () => (!wanted || isGood() ? 'granted' : renew()),
    // The address of a file beside the page, now.
    url(name) {
      if (!isGood()) return new URL(name + location.search, location.href).href;
      return new URL('g/' + grant + '/' + id + '/' + inside + name + (rest ? '?' + rest : ''), root).href;
    },
    // An address that a player has kept, with the grant of now: playlists name their files relative to themselves.
    swap(address) {
      return good ? address.replace(/\/g\/[^/?]*\.[^/?]*\//, () => '/g/' + grant + '/') : address;
    },
  };
};
