// A QR code as SVG: one path, drawn from the modules that the library computes.
import { useEffect, useState } from 'preact/hooks';
import { html } from './html.js';
import { t } from './text.js';

const MARGIN = 4;

export function Qr({ text, label }) {
  const [code, draw] = useState(null);
  useEffect(() => {
    let open = true;
    import('../vendor/qrcode-generator-2.0.4.js').then(({ default: qrcode }) => {
      const made = qrcode(0, 'M');
      made.addData(text);
      made.make();
      const size = made.getModuleCount();
      let path = '';
      for (let y = 0; y < size; y += 1) for (let x = 0; x < size; x += 1) if (made.isDark(y, x)) path += `M${x + MARGIN} ${y + MARGIN}h1v1h-1z`;
      if (open) draw({ path, size: size + 2 * MARGIN });
    }).catch(() => { if (open) draw({ failed: true }); });
    return () => { open = false; };
  }, [text]);
  if (!code) return null;
  if (code.failed) return html`<p class="why" role="alert">${t('qr_failed')}</p>`;
  return html`<svg class="qr" role="img" aria-label=${label} viewBox=${`0 0 ${code.size} ${code.size}`} shape-rendering="crispEdges"><path d=${code.path} /></svg>`;
}
