import { fmt, t } from "../i18n";
import { everySecond } from "../live/clock";
import { online } from "../live/online";
import type { PollState } from "../live/poller";

/** A provider that was asked every few seconds and has confirmed nothing for this long does not answer. */
const PROVIDER_SILENT_MS = 90_000;

/** How old the shown values are: "Confirmed 3 s ago", or a plain warning while the server doesn't answer. */
export function Freshness({ state, providerAt }: { state: PollState<unknown>; providerAt?: string | null }) {
  const { confirmedAt, error } = state;
  if (confirmedAt === null) return null;
  if (error) {
    const time = fmt().time(new Date(confirmedAt).toISOString());
    return (
      <p class="notice notice-warning" role="status">
        {online.value ? t("live.stale", { time }) : t("live.offline", { time })}
      </p>
    );
  }
  const at = providerAt ? Date.parse(providerAt) : confirmedAt;
  if (providerAt && everySecond.value - at > PROVIDER_SILENT_MS) {
    return (
      <p class="notice notice-warning" role="status">
        {t("live.provider", { time: fmt().time(providerAt) })}
      </p>
    );
  }
  return <p class="meta num">{t("live.confirmed", { ago: fmt().ago(at, everySecond.value) })}</p>;
}

/** An age that keeps itself up to date; the exact time on hover. */
export function Ago({ iso, now }: { iso: string; now: number }) {
  return (
    <time dateTime={iso} title={fmt().dateTime(iso)}>
      {fmt().ago(Date.parse(iso), now)}
    </time>
  );
}
