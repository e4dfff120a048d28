import { ApiError } from "../api/client";
import { t } from "../i18n";
import { CopyButton } from "./CopyButton";
import { Icon } from "./icons";

interface ErrorBoxProps {
  error: Error;
  onRetry?: () => void;
  /** Something the reader did failed, rather than a reading of ours. */
  action?: boolean;
}

/** What went wrong, in the reader's language where we know it, and the next step. */
export function ErrorBox({ error, onRetry, action = false }: ErrorBoxProps) {
  const api = error instanceof ApiError ? error : null;
  // The sign-in says it, but nothing would say that an action was not done.
  if (api?.status === 401 && !action) return null;
  const ids = api
    ? [t("error.code", { code: api.code }), api.requestId && t("error.request", { id: api.requestId })]
    : [];
  const details = ids.filter(Boolean).join(" · ");
  return (
    <div class="notice notice-error" role="alert">
      <Icon name="warning" />
      <div class="notice-body">
        <p class="notice-title">{t(action ? "error.action" : "error.title")}</p>
        <p>{sentence(error)}</p>
        {api && api.fields.length > 0 && (
          <ul>
            {api.fields.map((field) => (
              <li key={field.field + field.message}>
                <code>{field.field}</code> {field.message}
              </li>
            ))}
          </ul>
        )}
        {details && (
          <details>
            <summary>{t("error.details")}</summary>
            <code>{details}</code> <CopyButton text={details} what={t("error.details")} />
          </details>
        )}
        {onRetry && (
          <button type="button" class="button" onClick={onRetry}>
            {t("action.retry")}
          </button>
        )}
      </div>
    </div>
  );
}

function sentence(error: Error): string {
  if (!(error instanceof ApiError)) return error.message;
  if (error.status === 401) return t("error.token");
  if (error.status === 404) return t("error.notfound");
  return error.kind === "http" ? error.message : t(`error.${error.kind}`);
}
