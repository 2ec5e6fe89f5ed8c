/**
 * The editor for Lean. It stands in a shadow root: its styles are adopted there, where the policy of the page would refuse the element
 * that it writes into documents.
 */
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching, indentUnit } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { EditorState, StateEffect, StateField } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { useEffect, useRef } from "preact/hooks";
import type { LeanMessage } from "./checks.ts";
import { lean } from "./lean-mode.ts";
import { symbols } from "./symbols.ts";

const look = EditorView.theme({
  "&": { height: "100%", fontSize: "14px", color: "var(--text)", backgroundColor: "var(--raised)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55" },
  ".cm-content": { caretColor: "var(--text)", padding: "8px 0" },
  ".cm-cursor": { borderLeftColor: "var(--text)", borderLeftWidth: "2px" },
  ".cm-gutters": { backgroundColor: "var(--sunken)", color: "var(--text-soft)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": {
    backgroundColor: "color-mix(in srgb, var(--tint) 60%, transparent)",
  },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "color-mix(in srgb, var(--accent) 28%, transparent)",
  },
  "&.cm-focused .cm-matchingBracket": {
    backgroundColor: "var(--tint)",
    outline: "1px solid var(--line-strong)",
  },
  ".cm-tooltip": {
    backgroundColor: "var(--raised)",
    color: "var(--text)",
    border: "1px solid var(--line-strong)",
    maxWidth: "min(560px, 90vw)",
  },
  ".cm-diagnostic": { whiteSpace: "pre-wrap", fontFamily: "var(--mono)", fontSize: "12px" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
  ".cm-diagnostic-warning": { borderLeftColor: "var(--warn)" },
  "&.cm-stale .cm-lintRange, &.cm-stale .cm-lint-marker": { opacity: "0.4", filter: "grayscale(1)" },
});

const setStale = StateEffect.define<boolean>();
const stale = StateField.define<boolean>({
  create: () => false,
  update: (value, { effects }) => effects.findLast((effect) => effect.is(setStale))?.value ?? value,
  provide: (field) =>
    EditorView.editorAttributes.from(
      field,
      (is): Record<string, string> => (is ? { class: "cm-stale" } : {}),
    ),
});

const SEVERITY = { error: "error", warning: "warning", information: "info" } as const;

/** What the screen does with the editor. */
export interface EditorHandle {
  readonly text: () => string;
  /** As one change, which undo takes back. */
  readonly replace: (text: string) => void;
  readonly undo: () => void;
  readonly goTo: (index: number) => void;
}

interface EditorProps {
  readonly initial: string;
  readonly messages: readonly LeanMessage[];
  /** Whether the messages are about an earlier text. */
  readonly isStale: boolean;
  readonly onChange: (text: string) => void;
  readonly onCursor: (index: number) => void;
  readonly onReady: (editor: EditorHandle) => void;
}

export function LeanEditor({ initial, messages, isStale, onChange, onCursor, onReady }: EditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const told = useRef({ onChange, onCursor });
  told.current = { onChange, onCursor };
  useEffect(() => {
    const root = host.current!.shadowRoot ?? host.current!.attachShadow({ mode: "open" });
    const editor = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: initial,
        extensions: [
          lintGutter(),
          lineNumbers(),
          history(),
          drawSelection(),
          highlightActiveLine(),
          bracketMatching(),
          indentUnit.of("  "),
          lean(),
          symbols(),
          stale,
          look,
          EditorView.lineWrapping,
          keymap.of([...defaultKeymap.filter(({ key }) => key !== "Mod-Enter"), ...historyKeymap]),
          EditorView.contentAttributes.of({
            "aria-label": "Lean: a statement or a file",
            spellcheck: "false",
            autocapitalize: "off",
          }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) told.current.onChange(update.state.doc.toString());
            if (update.docChanged || update.selectionSet)
              told.current.onCursor(update.state.selection.main.head);
          }),
        ],
      }),
    });
    view.current = editor;
    onReady({
      text: () => editor.state.doc.toString(),
      replace: (text) => {
        editor.dispatch({
          changes: { from: 0, to: editor.state.doc.length, insert: text },
          userEvent: "replace",
          scrollIntoView: true,
        });
      },
      undo: () => {
        historyKeymap.find(({ key }) => key === "Mod-z")!.run!(editor);
      },
      goTo: (index) => {
        editor.dispatch({
          selection: { anchor: Math.min(index, editor.state.doc.length) },
          scrollIntoView: true,
        });
        editor.focus();
      },
    });
    return () => editor.destroy();
  }, []);
  useEffect(() => {
    const editor = view.current!;
    const { length } = editor.state.doc;
    const within = (index: number) => Math.max(0, Math.min(index, length));
    const diagnostics = messages.map(({ severity, start, end, text }): Diagnostic => {
      const from = within(start.index);
      return { from, to: Math.max(from, within(end.index)), severity: SEVERITY[severity], message: text };
    });
    editor.dispatch(setDiagnostics(editor.state, diagnostics));
  }, [messages]);
  useEffect(() => {
    view.current!.dispatch({ effects: setStale.of(isStale) });
  }, [isStale]);
  return <div ref={host} class="lean-editor" />;
}
