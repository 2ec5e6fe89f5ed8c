/** The drawer's width: by dragging its edge, by keys on the edge, and by buttons. Remembered by this browser. */
import { signal } from "@preact/signals";
import { Icon } from "../frame/icons.tsx";

const KEY = "studio.inside.width";
const LEAST = 320;
const MOST = 900;
const STEP = 60;

function read(): number {
  try {
    return Number(localStorage.getItem(KEY)) || 420;
  } catch {
    return 420;
  }
}

const bounded = (width: number) => Math.round(Math.min(MOST, Math.max(LEAST, width)));

export const drawerWidth = signal(bounded(read()));

function setWidth(width: number): void {
  drawerWidth.value = bounded(width);
  try {
    localStorage.setItem(KEY, String(drawerWidth.value));
  } catch {
    // Private windows may refuse.
  }
}

export function DrawerEdge() {
  return (
    <div
      class="drawer-edge"
      role="separator"
      aria-orientation="vertical"
      aria-label="Width of the drawer"
      aria-valuenow={drawerWidth.value}
      aria-valuemin={LEAST}
      aria-valuemax={MOST}
      tabIndex={0}
      onPointerDown={(event) => {
        const edge = event.currentTarget;
        const from = event.clientX + drawerWidth.peek();
        edge.setPointerCapture(event.pointerId);
        const drag = (moved: PointerEvent) => {
          drawerWidth.value = bounded(from - moved.clientX);
        };
        edge.addEventListener("pointermove", drag);
        edge.addEventListener(
          "lostpointercapture",
          () => {
            edge.removeEventListener("pointermove", drag);
            setWidth(drawerWidth.peek());
          },
          { once: true },
        );
      }}
      onKeyDown={(event) => {
        const step = { ArrowLeft: STEP, ArrowRight: -STEP }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        setWidth(drawerWidth.peek() + step);
      }}
    />
  );
}

export function WidthButtons() {
  return (
    <span class="width-buttons">
      <button
        type="button"
        class="quiet icon-only"
        aria-label="Wider drawer"
        title="Wider drawer"
        disabled={drawerWidth.value >= MOST}
        onClick={() => setWidth(drawerWidth.peek() + STEP)}
      >
        <Icon name="left" />
      </button>
      <button
        type="button"
        class="quiet icon-only"
        aria-label="Narrower drawer"
        title="Narrower drawer"
        disabled={drawerWidth.value <= LEAST}
        onClick={() => setWidth(drawerWidth.peek() - STEP)}
      >
        <Icon name="right" />
      </button>
    </span>
  );
}
