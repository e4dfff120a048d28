import { useSignal } from "@preact/signals";
import { t } from "../i18n";
import { ErrorBox } from "./ErrorBox";

/** The button below a list of which more exists, with what went wrong when it could not be had. */
export function LoadMore({ onMore }: { onMore: () => Promise<void> }) {
  const busy = useSignal(false);
  const failed = useSignal<Error | null>(null);
  const more = async () => {
    if (busy.value) return;
    busy.value = true;
    failed.value = null;
    try {
      await onMore();
    } catch (reason) {
      failed.value = reason instanceof Error ? reason : new Error(String(reason));
    } finally {
      busy.value = false;
    }
  };
  return (
    <>
      {failed.value && <ErrorBox error={failed.value} />}
      <div class="more">
        <button type="button" class="button" aria-disabled={busy.value} onClick={more}>
          {busy.value ? t("live.loading") : t("action.more")}
        </button>
      </div>
    </>
  );
}
