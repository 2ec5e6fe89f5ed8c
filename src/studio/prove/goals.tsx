/** The goals at the cursor, with what the tactic before it did to them. */
import { Icon } from "../frame/icons.tsx";
import { copyText } from "../markdown/code-block.tsx";
import { diffGoals, type GoalChange, type GoalLine, type GoalsAt, goalComment } from "./goal-diff.ts";

const SIGNS = { same: "", added: "+", removed: "−", changed: "~" } as const;

function Line({ line }: { readonly line: GoalLine }) {
  const { name, type, change, before } = line;
  return (
    <li class={`goal-line ${change}`}>
      <span class="sign" aria-hidden="true">
        {SIGNS[change]}
      </span>
      <span>
        {change !== "same" && <span class="hidden-text">{change}: </span>}
        <b>{name}</b>
        {name !== "⊢" && name !== "" && " :"} {type}
        {before !== null && <span class="was">was {before}</span>}
      </span>
    </li>
  );
}

function GoalView({
  goal,
  number,
  of,
}: {
  readonly goal: GoalChange;
  readonly number: number;
  readonly of: number;
}) {
  return (
    <section class={`goal ${goal.touched ? "touched" : ""}`} aria-label={`Goal ${number} of ${of}`}>
      {(of > 1 || goal.name !== null) && (
        <h3 class="tiny soft">
          {of > 1 && `Goal ${number} of ${of}`}
          {of > 1 && goal.name !== null && ", "}
          {goal.name !== null && `case ${goal.name}`}
        </h3>
      )}
      <ul class="goal-lines">
        {goal.lines.map((line, i) => (
          <Line key={`${i} ${line.name}`} line={line} />
        ))}
        <Line line={goal.target} />
      </ul>
    </section>
  );
}

const NoGoals = ({ tactic }: { readonly tactic: string }) =>
  /^(?:sorry|admit|stop)\b/.test(tactic) ? (
    <p class="small warn-words">○ No goals, since {tactic.split(/\s/)[0]} stands for their proof.</p>
  ) : (
    <p class="small good-words">✓ No goals are left.</p>
  );

interface GoalsProps {
  readonly found: GoalsAt | null;
  /** Whether they are of an earlier text. */
  readonly isStale: boolean;
  /** Whether Lean has said anything yet. */
  readonly known: boolean;
}

export function Goals({ found, isStale, known }: GoalsProps) {
  const goals = found === null ? [] : diffGoals(found.against, found.goals);
  return (
    <section class={`card stack goals ${isStale ? "stale" : ""}`} aria-label="Goals at the cursor">
      <div class="row prove-head">
        <h2>Goals</h2>
        {found !== null && (
          <span class="row">
            <button
              type="button"
              class="quiet"
              aria-label="Copy the goals"
              onClick={() => copyText(found.goals.join("\n\n") || "no goals", "The state")}
            >
              <Icon name="copy" />
              Copy
            </button>
            <button
              type="button"
              class="quiet"
              aria-label="Copy the goals as a comment"
              onClick={() => copyText(goalComment(found.goals), "The comment")}
            >
              as comment
            </button>
          </span>
        )}
      </div>
      {isStale && found !== null && (
        <p class="tiny soft">Of the text before the last change; Lean reads the new one.</p>
      )}
      {found === null ? (
        <p class="small soft">
          {known
            ? "Put the cursor on a tactic: what is to be shown there appears here, with what the tactic changed."
            : "They appear when Lean has read the text."}
        </p>
      ) : (
        <>
          <p class="small soft cut" title={found.tactic}>
            {found.before ? "before " : "behind "}
            <code>{found.tactic.split("\n")[0]}</code>
          </p>
          {goals.length === 0 && <NoGoals tactic={found.tactic} />}
          {goals.map((goal, i) => (
            <GoalView key={i} goal={goal} number={i + 1} of={goals.length} />
          ))}
        </>
      )}
    </section>
  );
}
