import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { access } from "../api/client";
import { getHealth } from "../api/health";
import { caller, recognize } from "../api/session";
import type { Health } from "../api/types";
import { LANGUAGES, type Language, language, setLanguage, t } from "../i18n";
import { online } from "../live/online";
import type { PollState } from "../live/poller";
import { usePoll } from "../live/usePoll";
import { setTheme, THEMES, type Theme, theme } from "../preferences";
import { Announcer } from "./announcer";
import { Icon } from "./icons";
import { SignInDialog, SignInPage } from "./SignIn";
import { Who, WhoProblem } from "./Who";

const HEALTH_MS = 30_000;

/** Frame of every page: skip link, navigation, the sandbox banner, the page, the health line. */
export function Shell({ path, children }: { path: string; children: ComponentChildren }) {
  const health = usePoll("health", getHealth, () => HEALTH_MS);
  useEffect(() => void recognize(), []);
  return (
    <>
      <a class="skip" href="#content">
        {t("app.skip")}
      </a>
      <TopBar path={path} />
      {health.state.value.data?.sandbox && <SandboxBanner />}
      <HealthBanner health={health.state.value.data} />
      <OfflineBanner />
      <WhoProblem />
      <SignInDialog />
      {wantsPage(path) ? <SignInPage /> : children}
      <HealthLine state={health.state.value} />
      <Announcer />
    </>
  );
}

/** Nobody has been here yet: there is nothing to keep. The API's description is for everybody. */
const wantsPage = (path: string) => access.needed.value && caller.value === null && !path.startsWith("/docs");

function SandboxBanner() {
  return (
    <aside class="banner" aria-label={t("tag.sandbox")}>
      <Icon name="info" />
      <p>{t("sandbox.banner")}</p>
    </aside>
  );
}

/** Which part of the stack is sick, in its own words. */
function HealthBanner({ health }: { health: Health | undefined }) {
  const parts = troubled(health);
  if (parts.length === 0) return null;
  return (
    <aside class="banner banner-bad" aria-label={t("health.title")}>
      <Icon name="warning" />
      <p>
        {t("health.trouble")}{" "}
        <span lang="en">{parts.map((part) => `${part.name}: ${part.message}`).join(" · ")}</span>
      </p>
    </aside>
  );
}

function OfflineBanner() {
  return (
    <div role="status">
      {!online.value && (
        <div class="banner">
          <Icon name="warning" />
          <p>{t("net.offline")}</p>
        </div>
      )}
    </div>
  );
}

const LINKS = [
  { href: "/", key: "nav.jobs", here: (path: string) => path === "/" || path.startsWith("/jobs") },
  { href: "/datasets", key: "nav.datasets", here: (path: string) => path.startsWith("/datasets") },
  { href: "/docs", key: "nav.api", here: (path: string) => path.startsWith("/docs") },
] as const;

function TopBar({ path }: { path: string }) {
  return (
    <header class="topbar">
      <a class="brand" href="/">
        <img src="/favicon.svg" alt="" width={24} height={24} />
        <span>{t("app.name")}</span>
      </a>
      <nav aria-label={t("nav.label")}>
        {LINKS.map((link) => (
          <a key={link.href} href={link.href} aria-current={link.here(path) ? "page" : undefined}>
            {t(link.key)}
          </a>
        ))}
      </nav>
      <Who path={path} />
      <div class="prefs">
        <label>
          <span class="visually-hidden">{t("prefs.language")}</span>
          <select
            value={language.value}
            onChange={(event) =>
              void setLanguage(event.currentTarget.value as Language).catch(() => undefined)
            }
          >
            {Object.entries(LANGUAGES).map(([code, name]) => (
              <option key={code} value={code} lang={code}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span class="visually-hidden">{t("prefs.theme")}</span>
          <select value={theme.value} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
            {THEMES.map((name) => (
              <option key={name} value={name}>
                {t(`theme.${name}`)}
              </option>
            ))}
          </select>
        </label>
      </div>
    </header>
  );
}

const troubled = (health: Health | undefined) =>
  health?.components.filter((part) => part.status !== "healthy") ?? [];

function HealthLine({ state }: { state: PollState<Health> }) {
  const { data, error } = state;
  const fine = data !== undefined && !error && troubled(data).length === 0;
  return (
    <footer class="footer">
      <p class={fine ? "health health-ok" : "health"}>
        {(data || error) && <Icon name={fine ? "completed" : "warning"} />}
        {healthWords(data, error)}
      </p>
      {data && (
        <p class="meta">
          {t("health.stage", { stage: data.stage })} · {t("health.version", { version: data.version })}
        </p>
      )}
    </footer>
  );
}

function healthWords(data: Health | undefined, error: Error | null): string {
  if (error) return t("health.unknown");
  if (!data) return t("live.loading");
  const names = troubled(data).map((part) => part.name);
  return names.length > 0 ? t("health.degraded", { names: names.join(", ") }) : t("health.ok");
}
