/** What a button opens beside itself: closed by Escape, by a click elsewhere, and when focus leaves it. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface PopoverProps {
  readonly label: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
  readonly kind?: string;
}

export function Popover({ label, onClose, children, kind = "" }: PopoverProps) {
  const box = useRef<HTMLDivElement>(null);
  const close = useRef(onClose);
  close.current = onClose;
  useEffect(() => {
    const anchor = box.current!.parentElement!;
    const outside = (event: Event) => {
      if (event.target instanceof Node && !anchor.contains(event.target)) close.current();
    };
    const key = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close.current();
      anchor.querySelector<HTMLElement>("button")?.focus();
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    anchor.addEventListener("keydown", key);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
      anchor.removeEventListener("keydown", key);
    };
  }, []);
  return (
    <div ref={box} class={`popover ${kind}`} role="group" aria-label={label}>
      {children}
    </div>
  );
}
