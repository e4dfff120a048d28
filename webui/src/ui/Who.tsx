import { signal } from "@preact/signals";
import { ApiError, access, usesKey } from "../api/client";
import { caller, signOut } from "../api/session";
import { t } from "../i18n";
import { Icon } from "./icons";
import { putOff } from "./SignIn";

const failed = signal<Error | null>(null);

/** Who is signed in, and the way out. Nothing on a stack of one's own that has no people yet. */
export function Who({ path }: { path: string }) {
  const who = caller.value;
  // Read here: what a key is good for changes with every caller.
  access.changes.value;
  if (who === null || (putOff.value && !access.needed.value)) return <Enter path={path} />;
  if (who.kind === "local") return null;
  const leave = async () => {
    failed.value = null;
    try {
      await signOut();
    } catch (error) {
      failed.value = error instanceof Error ? error : new Error(String(error));
    }
  };
  return (
    <div class="who">
      <span class="visually-hidden">{t("who.label")}</span>
      <span class="who-name" title={who.username}>
        {who.display_name || who.username}
      </span>
      {who.role && <span class="who-role">{t(`role.${who.role}`)}</span>}
      <button type="button" class="button button-small" onClick={leave}>
        {t(usesKey() ? "who.forget" : "who.signOut")}
      </button>
    </div>
  );
}

/** The way in from a page that can be read without. */
function Enter({ path }: { path: string }) {
  if (caller.value !== null) {
    const open = () => {
      putOff.value = false;
      access.needed.value = true;
    };
    return (
      <button type="button" class="button button-small" onClick={open}>
        {t("signin.go")}
      </button>
    );
  }
  return access.needed.value && path.startsWith("/docs") ? (
    <a class="button button-small" href="/">
      {t("signin.go")}
    </a>
  ) : null;
}

/** Why somebody is still signed in. */
export function WhoProblem() {
  const error = failed.value;
  if (error === null) return null;
  const reason =
    error instanceof ApiError && error.kind !== "http" ? t(`error.${error.kind}`) : error.message;
  return (
    <div class="banner banner-bad" role="alert">
      <Icon name="warning" />
      <p>{t("who.failed", { reason })}</p>
    </div>
  );
}
