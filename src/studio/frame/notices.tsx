/** Notices at the corner of the page. */
import { dismiss, notices } from "../state/notices.ts";
import { Icon } from "./icons.tsx";

export const Notices = () => (
  <div class="notices" role="status">
    {notices.value.map(({ id, text, undo }) => (
      <div key={id} class="notice">
        <span>{text}</span>
        {undo && (
          <button
            type="button"
            class="quiet undo"
            onClick={() => {
              undo();
              dismiss(id);
            }}
          >
            Undo
          </button>
        )}
        <button
          type="button"
          class="quiet icon-only"
          aria-label="Close the notice"
          onClick={() => dismiss(id)}
        >
          <Icon name="close" />
        </button>
      </div>
    ))}
  </div>
);
