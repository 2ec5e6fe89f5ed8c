/** `\name` becomes its symbol while it is typed, by the table and the rules of Lean's own editors; Tab ends a name early. */
import { EditorSelection, type Extension, Prec, Transaction } from "@codemirror/state";
import { type EditorView, keymap, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import {
  type AbbreviationConfig,
  AbbreviationProvider,
  AbbreviationRewriter,
  type AbbreviationTextSource,
  type Change,
  Range,
} from "@leanprover/unicode-input";

const config: AbbreviationConfig = {
  abbreviationCharacter: "\\",
  customTranslations: {},
  eagerReplacementEnabled: true,
};

class Symbols implements AbbreviationTextSource {
  readonly #view: EditorView;
  readonly #rewriter: AbbreviationRewriter;

  constructor(view: EditorView) {
    this.#view = view;
    this.#rewriter = new AbbreviationRewriter(config, new AbbreviationProvider(config), this);
  }

  update(update: ViewUpdate): void {
    if (update.docChanged) {
      const changes: Change[] = [];
      update.changes.iterChanges((from, to, _newFrom, _newTo, text) => {
        changes.push({ range: new Range(from, to - from), newText: text.toString() });
      });
      const typed = update.transactions.some((each) => each.isUserEvent("input"));
      // What is undone, loaded or put in by the page is no typing.
      if (!typed && changes.some(({ newText }) => newText.length > 1))
        this.#rewriter.resetTrackedAbbreviations();
      else this.#rewriter.changeInput(changes);
    }
    if (update.docChanged || update.selectionSet) {
      // The editor takes no change while it draws one.
      queueMicrotask(async () => {
        await this.#rewriter.triggerAbbreviationReplacement();
        await this.#rewriter.changeSelections(this.collectSelections());
      });
    }
  }

  /** Replaces what is being typed now. @returns whether there was something */
  finish(): boolean {
    const open = this.#rewriter.getTrackedAbbreviations().size > 0;
    if (open) this.#rewriter.replaceAllTrackedAbbreviations();
    return open;
  }

  async replaceAbbreviations(changes: Change[]): Promise<boolean> {
    this.#view.dispatch({
      changes: changes.map(({ range, newText }) => ({
        from: range.offset,
        to: range.offset + range.length,
        insert: newText,
      })),
      annotations: Transaction.userEvent.of("input.symbol"),
    });
    return true;
  }

  selectionMoveMode() {
    return { kind: "OnlyMoveCursorSelections", updateUnchangedSelections: false } as const;
  }

  collectSelections(): Range[] {
    return this.#view.state.selection.ranges.map(({ from, to }) => new Range(from, to - from));
  }

  setSelections(selections: Range[]): void {
    const ranges = selections.map(({ offset, length }) => EditorSelection.range(offset, offset + length));
    this.#view.dispatch({ selection: EditorSelection.create(ranges) });
  }
}

export function symbols(): Extension {
  const plugin = ViewPlugin.fromClass(Symbols);
  const finish = (view: EditorView) => view.plugin(plugin)?.finish() ?? false;
  return [plugin, Prec.high(keymap.of([{ key: "Tab", run: finish }]))];
}
