import { getEvents } from "../../api/jobs";
import type { Job, JobEvent } from "../../api/types";
import { fmt, type MessageKey, t } from "../../i18n";
import { en } from "../../i18n/en";
import { usePoll } from "../../live/usePoll";
import { ErrorBox } from "../../ui/ErrorBox";

const ACTIVE_MS = 3_000;
/** Pages read per round; what is left is read in the next one. */
const PAGES = 10;

/** All events after the last known one, added to those known. */
export async function loadEvents(jobId: string, known: JobEvent[], signal: AbortSignal): Promise<JobEvent[]> {
  const events = [...known];
  for (let page = 0; page < PAGES; page += 1) {
    const after = events.at(-1)?.seq ?? 0;
    const answer = await getEvents(jobId, after, signal);
    events.push(...answer.events.filter((event) => event.seq > after));
    if (answer.next === null || answer.events.length === 0) break;
  }
  return events;
}

/** What happened, newest first. The key holds the status so that the last events of an ended job are read too. */
export function EventsPanel({ job }: { job: Job }) {
  const { state, refresh } = usePoll<JobEvent[]>(
    `events/${job.job_id}/${job.is_active}`,
    (signal, known) => loadEvents(job.job_id, known ?? [], signal),
    () => (job.is_active ? ACTIVE_MS : null),
  );
  const { data, error } = state.value;
  return (
    <section class="panel" aria-labelledby="events">
      <h2 id="events">{t("events.title")}</h2>
      {error && !data && <ErrorBox error={error} onRetry={refresh} />}
      {data?.length === 0 && <p class="meta">{t("events.empty")}</p>}
      {data && data.length > 0 && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a long list scrolls, and the keyboard must be able to
        <ol class="events" reversed tabIndex={0} aria-labelledby="events">
          {data.toReversed().map((event) => (
            <li key={event.seq}>
              <time dateTime={event.at} title={fmt().dateTime(event.at)} class="meta num">
                {fmt().time(event.at)}
              </time>
              <EventWords event={event} />
              <code class="meta event-type">{event.type}</code>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

/** What happened in the reader's language where we know it; the server's own sentence where it says more. */
function EventWords({ event }: { event: JobEvent }) {
  const key = `event.${event.type}`;
  const label = key in en ? (key as MessageKey) : null;
  // "Launching on NVIDIA L40S" needs no "Launching" in front of it, and "Submitted" no second time.
  const known = label && !event.message.startsWith(t(label)) ? t(label) : null;
  const original = label && known && event.message === en[label] ? null : event.message;
  return (
    <span class="event-words">
      {known && <span>{known}</span>}
      {original && (
        <span lang="en" class={known ? "event-detail" : undefined}>
          {original}
        </span>
      )}
    </span>
  );
}
