import { $ } from './dom.js';
import { moment, words } from './words.js';

/** How long an answer may fail to come before the page says that it is old. */
const staleMs = 8000;
const answerMs = 20_000;

/** Asks for `path` again and again. What is on the page says so itself when it has become old (I18). */
export function poll(path, everyMs, onFacts) {
  let lastAt = null;
  let lastMs = performance.now();
  const ask = async () => {
    try {
      const response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(answerMs) });
      if (!response.ok) throw new Error(String(response.status));
      const facts = await response.json();
      lastAt = new Date().toISOString();
      lastMs = performance.now();
      tellAge();
      onFacts(facts);
    } catch {
      tellAge();
    }
    setTimeout(() => void ask(), everyMs);
  };
  const tellAge = () => {
    const isStale = performance.now() - lastMs > Math.max(staleMs, everyMs + staleMs);
    document.body.classList.toggle('is-stale', isStale);
    $('stale').hidden = !isStale;
    const text = lastAt === null ? words.neverAnswered : words.stale(moment(lastAt));
    if (isStale && $('stale').textContent !== text) $('stale').textContent = text;
  };
  setInterval(tellAge, 1000);
  void ask();
}
