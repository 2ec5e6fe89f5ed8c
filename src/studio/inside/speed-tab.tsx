/** What an answer took: reading the prompt, writing, caches beside what other attention would need, drafts. */
import { formatBytes, formatCount, formatDuration, formatPercent, formatRate } from "../../text/units.ts";
import type { ModelFigures } from "./model-figures.ts";
import type { InsideRecord } from "./record.ts";

type Fact = readonly [name: string, value: string];

function Facts({ name, facts }: { readonly name: string; readonly facts: readonly Fact[] }) {
  return (
    <section class="card stack" aria-label={name}>
      <h3>{name}</h3>
      <dl class="facts">
        {facts.map(([what, value]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

const rate = (count: number, milliseconds: number) =>
  milliseconds > 0 && count > 0 ? `${formatRate(count, milliseconds / 1000)} tokens/s` : "–";
function time(milliseconds: number | null): string {
  if (milliseconds === null) return "–";
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : formatDuration(milliseconds / 1000);
}

function Cache({ bytes, model }: { readonly bytes: number; readonly model: ModelFigures | null }) {
  const rows = [
    ["This model", 1],
    ["Keys and values of every head (MHA)", model?.multiHead ?? null],
    ["Of grouped heads (GQA)", model?.groupedQuery ?? null],
  ] as const;
  const most = Math.max(...rows.map(([, times]) => times ?? 0));
  return (
    <section class="card stack" aria-label="Cache">
      <h3>Cache of prompt and answer</h3>
      <dl class="facts">
        {rows.map(
          ([name, times]) =>
            times !== null && (
              <div key={name}>
                <dt>{name}</dt>
                <dd>
                  {formatBytes(bytes * times)}
                  {times !== 1 && <span class="soft"> ({times.toFixed(1)} times)</span>}
                </dd>
                <dd class="meter" aria-hidden="true">
                  <span style={{ width: `${(100 * times) / most}%` }} />
                </dd>
              </div>
            ),
        )}
      </dl>
      {model === null && <p class="tiny soft">What other attention would need is not known of this model.</p>}
    </section>
  );
}

export function SpeedTab({
  record,
  model,
}: {
  readonly record: InsideRecord;
  readonly model: ModelFigures | null;
}) {
  const { figures, count, firstAt, lastAt, beyond } = record;
  if (figures === null) {
    const tokens = count + beyond;
    return (
      <div class="inside-tab">
        <Facts
          name="So far"
          facts={[
            ["Tokens", formatCount(tokens)],
            ["Writing", rate(tokens - 1, lastAt - (firstAt ?? lastAt))],
          ]}
        />
        <p class="small soft">The engine's own figures come with the last token.</p>
      </div>
    );
  }
  const { firstTokenMs, queueMs, promptTokens, cachedTokens, tokensPerSecond, drafts } = figures;
  const reading = firstTokenMs === null ? 0 : firstTokenMs - queueMs;
  return (
    <div class="inside-tab">
      <Facts
        name="Prompt"
        facts={[
          ["Tokens", formatCount(promptTokens)],
          ["Found in a cache", formatCount(cachedTokens)],
          ["Read at", rate(promptTokens - cachedTokens, reading)],
          ["In the queue", time(queueMs)],
          ["To the first token", time(firstTokenMs)],
        ]}
      />
      <Facts
        name="Answer"
        facts={[
          ["Tokens, with the one that ended it", formatCount(figures.tokens)],
          ["Written at", tokensPerSecond === null ? "–" : `${formatRate(tokensPerSecond, 1)} tokens/s`],
        ]}
      />
      {drafts === null ? (
        <p class="small soft">Nothing drafted tokens ahead for this answer.</p>
      ) : (
        <Facts
          name="Drafts"
          facts={[
            ["Drafted", formatCount(drafts.drafted)],
            ["Accepted", formatCount(drafts.accepted)],
            ["Share", drafts.drafted === 0 ? "–" : formatPercent(drafts.accepted / drafts.drafted)],
          ]}
        />
      )}
      <Cache bytes={figures.cacheBytes} model={model} />
    </div>
  );
}
