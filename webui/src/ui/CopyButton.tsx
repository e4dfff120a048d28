import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { t } from "../i18n";
import { announce } from "./announcer";
import { Icon } from "./icons";

/** Puts `text` on the clipboard. `what` names it for those who can't see what the button stands beside. */
export function CopyButton({ text, what }: { text: string; what: string }) {
  const copied = useSignal(false);
  useEffect(() => {
    if (!copied.value) return;
    const timer = setTimeout(() => {
      copied.value = false;
    }, 2000);
    return () => clearTimeout(timer);
  }, [copied.value]);

  // Browsers offer the clipboard on https and localhost only.
  if (!navigator.clipboard) return null;
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => {
        copied.value = true;
        announce(t("action.copied"));
      },
      () => {
        copied.value = false; // refused by the browser: the text can still be selected
      },
    );
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={t("action.copyNamed", { what })}
      title={t("action.copy")}
      onClick={copy}
    >
      <Icon name={copied.value ? "done" : "copy"} />
    </button>
  );
}

/** A command line to run, with its copy button. */
export function Command({ line }: { line: string }) {
  return (
    <div class="command">
      <code>{line}</code>
      <CopyButton text={line} what={line} />
    </div>
  );
}
