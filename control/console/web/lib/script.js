// Classic scripts of others, each loaded when it is needed first. Trusted Types let no other address become a script.
const SCRIPTS = { mpegts: 'vendor/mpegts-1.8.2.js', uPlot: 'vendor/uplot-1.6.32.js' };

const urls = Object.fromEntries(Object.entries(SCRIPTS).map(([name, path]) => [name, new URL(`../${path}`, import.meta.url).href]));
// A page gets one policy of a name.
const policy = window.trustedTypes?.createPolicy('millstream', {
  createScriptURL: (url) => {
    if (!Object.values(urls).includes(url)) throw new TypeError('no script of the console');
    return url;
  },
});
const loading = {};

// What the script of this name defines under the same name.
export function script(name) {
  loading[name] ??= new Promise((resolve, reject) => {
    const element = document.createElement('script');
    element.src = policy ? policy.createScriptURL(urls[name]) : urls[name];
    element.onload = () => resolve(window[name]);
    element.onerror = () => {
      // The next one who needs it tries again.
      delete loading[name];
      element.remove();
      reject(new Error(`${name} was not loaded`));
    };
    document.head.append(element);
  });
  return loading[name];
}
