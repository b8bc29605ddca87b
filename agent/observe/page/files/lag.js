import { svg } from './dom.js';
import { duration, words } from './words.js';

const width = 720;
const height = 160;
const windowMs = 600_000;
/** Two samples further apart than this have a gap between them. */
const gapMs = 8000;

/** Draws the last ten minutes; what was not known is shaded, never drawn as nothing. */
export function drawLag(target, caption, samples) {
  const end = samples.at(-1)?.at ?? Date.now();
  const inWindow = samples.filter(({ at }) => end - at <= windowMs);
  const known = inWindow.filter(({ seconds }) => seconds !== null);
  const most = Math.max(0, ...known.map(({ seconds }) => seconds));
  const top = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43_200].find((step) => step >= most) ?? most;
  const x = (at) => width - ((end - at) / windowMs) * width;
  const y = (seconds) => height - 6 - (seconds / top) * (height - 20);
  const lines = [];
  let line = [];
  const gaps = [];
  let before = null;
  for (const sample of inWindow) {
    if (before !== null && (sample.seconds === null || before.seconds === null || sample.at - before.at > gapMs)) {
      gaps.push([before.at, sample.at]);
      if (line.length > 0) lines.push(line);
      line = [];
    }
    if (sample.seconds !== null) line.push(sample);
    before = sample;
  }
  if (line.length > 0) lines.push(line);
  const path = (points) =>
    points.map(({ at, seconds }, i) => `${i === 0 ? 'M' : 'L'}${x(at).toFixed(1)} ${y(seconds).toFixed(1)}`).join('');
  target.replaceChildren(
    ...[0, 0.5, 1].map((share) => svg('line', { class: 'grid-line', x1: 0, x2: width, y1: y(top * share), y2: y(top * share) })),
    ...gaps.map(([from, to]) => svg('rect', { class: 'gap', x: x(from), y: 0, width: Math.max(1, x(to) - x(from)), height })),
    ...lines.flatMap((points) => [
      svg('path', {
        class: 'area',
        d: `${path(points)}L${x(points.at(-1).at).toFixed(1)} ${y(0)}L${x(points[0].at).toFixed(1)} ${y(0)}Z`,
      }),
      svg('path', { class: 'curve', d: path(points) }),
    ]),
  );
  const last = samples.at(-1);
  const now = last && last.seconds !== null ? duration(last.seconds) : words.unknown;
  const text = known.length === 0 ? words.lagCaptionNone : words.lagCaption(duration(most), now);
  target.setAttribute('aria-label', `${words.lagGraph}. ${text}`);
  caption.textContent = text;
}
