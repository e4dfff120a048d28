import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { request } from "../../api/client";
import { t } from "../../i18n";
import { usePoll } from "../../live/usePoll";
import { ErrorBox } from "../../ui/ErrorBox";
import { Page } from "../../ui/Page";
import { Skeleton } from "../../ui/Skeleton";
import { type Description, matches, type Route, routesByTag } from "./description";
import { OperationBody } from "./OperationBody";
import { Prose } from "./Prose";

const DESCRIPTION = "/api/openapi.json";

/** The API reference: every route of this stack, from its own description. */
export function DocsPage() {
  const { state, refresh } = usePoll<Description>(
    "openapi",
    (signal) => request<Description>("GET", DESCRIPTION, { signal }),
    () => null,
  );
  const wanted = useSignal("");
  const { data, error } = state.value;
  const tags = data ? [...routesByTag(data)] : [];
  const shown = tags
    .map(([tag, routes]) => [tag, routes.filter((route) => matches(route, wanted.value))] as const)
    .filter(([, routes]) => routes.length > 0);
  return (
    <Page title={[t("docs.title")]} heading={t("docs.title")}>
      <p class="lead">
        {t("docs.lead")} <a href={DESCRIPTION}>{DESCRIPTION}</a>
      </p>
      {error && !data && <ErrorBox error={error} onRetry={refresh} />}
      {!data && !error && <Skeleton rows={8} />}
      {data && (
        <>
          {data.info.description && (
            <p lang="en">
              <Prose text={data.info.description} />
            </p>
          )}
          <label class="field-inline docs-find">
            {t("docs.find")}
            <input
              type="search"
              value={wanted.value}
              onInput={(event) => (wanted.value = event.currentTarget.value)}
            />
          </label>
          {shown.length === 0 && <p class="panel empty">{t("docs.none")}</p>}
          {shown.map(([tag, routes]) => (
            <section key={tag} class="docs-tag" aria-labelledby={`tag-${tag}`}>
              <h2 id={`tag-${tag}`} lang="en">
                {tag}
              </h2>
              {routes.map((route) => (
                <Entry key={route.operation.operationId} description={data} route={route} />
              ))}
            </section>
          ))}
        </>
      )}
    </Page>
  );
}

/** One route, closed until asked for; `#operation_id` in the address opens it. */
function Entry({ description, route }: { description: Description; route: Route }) {
  const { method, path, operation } = route;
  const id = operation.operationId;
  const box = useRef<HTMLDetailsElement>(null);
  const open = useSignal(location.hash === `#${id}`);
  useEffect(() => {
    if (open.peek()) box.current?.scrollIntoView();
  }, [open]);
  const toggled = (now: boolean) => {
    if (now === open.peek()) return;
    open.value = now;
    // The address of what is being read, without a step in the history.
    history.replaceState(history.state, "", now ? `#${id}` : location.pathname);
  };
  return (
    <details
      ref={box}
      id={id}
      class="operation"
      open={open.value}
      onToggle={(event) => toggled(event.currentTarget.open)}
    >
      <summary>
        <span class={`method method-${method.toLowerCase()}`}>{method}</span>
        <code class="operation-path">{path}</code>
        <span class="operation-summary" lang="en">
          <Prose text={operation.summary ?? ""} />
        </span>
      </summary>
      {open.value && <OperationBody description={description} route={route} />}
    </details>
  );
}
