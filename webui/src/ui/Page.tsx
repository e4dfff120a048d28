import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n";

interface PageProps {
  /** Parts of the window title from the most to the least specific; the product's name is added. */
  title: string[];
  heading: ComponentChildren;
  /** Stands above the heading: the way back. */
  before?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
  /** "section" where somebody else brings the main landmark. */
  as?: "main" | "section";
}

/** Where the keyboard goes on when what held the focus is gone. */
export function focusHeading(): void {
  document.querySelector<HTMLElement>("h1")?.focus();
}

let firstPage = true;

/** One page: window title, the only h1, and focus on it after a change of page so that the keyboard starts there. */
export function Page({ title, heading, before, actions, children, as: Landmark = "main" }: PageProps) {
  const h1 = useRef<HTMLHeadingElement>(null);
  const full = [...title, t("app.name")].join(" · ");
  useEffect(() => {
    document.title = full;
  }, [full]);
  // Before the browser draws: a Tab right after the page is seen must start here.
  useLayoutEffect(() => {
    if (!firstPage) h1.current?.focus();
    firstPage = false;
  }, []);
  return (
    <Landmark id="content" class="page" aria-label={Landmark === "section" ? title[0] : undefined}>
      {before}
      <div class="page-head">
        <h1 ref={h1} tabIndex={-1}>
          {heading}
        </h1>
        {actions && <div class="page-actions">{actions}</div>}
      </div>
      {children}
    </Landmark>
  );
}
