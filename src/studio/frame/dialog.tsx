/** A modal dialog of the platform: focus stays inside, Escape closes, focus returns to where it was. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Icon } from "./icons.tsx";

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
  /** Class of the dialog. */
  readonly kind?: string;
  /** Whether the title is only for those who do not see. */
  readonly bare?: boolean;
}

export function Dialog({ title, onClose, children, kind = "", bare = false }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={kind}
      aria-labelledby={id}
      onClose={onClose}
      onClick={(event) => {
        if (event.target === dialog.current) dialog.current?.close();
      }}
    >
      {bare ? (
        <h2 id={id} class="hidden-text">
          {title}
        </h2>
      ) : (
        <div class="dialog-head">
          <h2 id={id}>{title}</h2>
          <button
            type="button"
            class="quiet icon-only"
            aria-label="Close"
            onClick={() => dialog.current?.close()}
          >
            <Icon name="close" />
          </button>
        </div>
      )}
      {children}
    </dialog>
  );
}

interface QuestionProps {
  readonly title: string;
  readonly children: ComponentChildren;
  /** What the button does: a verb with its object. */
  readonly action: string;
  readonly danger?: boolean;
  readonly onYes: () => void;
  readonly onClose: () => void;
}

/** Asks before what cannot be undone. */
export function Question({ title, children, action, danger = false, onYes, onClose }: QuestionProps) {
  return (
    <Dialog title={title} onClose={onClose}>
      <div class="dialog-body">
        {children}
        <div class="dialog-end">
          <button type="button" class="outlined" onClick={onClose}>
            Cancel
          </button>
          <button
            type="button"
            class={`solid ${danger ? "danger" : ""}`}
            onClick={() => {
              onYes();
              onClose();
            }}
          >
            {action}
          </button>
        </div>
      </div>
    </Dialog>
  );
}
