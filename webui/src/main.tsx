import "./styles/index.css";
import { signal } from "@preact/signals";
import { render } from "preact";
import { ErrorBoundary, LocationProvider, lazy, Route, Router, useLocation } from "preact-iso";
import { preferredLanguage, setLanguage, t } from "./i18n";
import { DatasetsPage } from "./pages/datasets/DatasetsPage";
import { JobPage } from "./pages/job/JobPage";
import { JobsPage } from "./pages/jobs/JobsPage";
import { Page } from "./ui/Page";
import { Shell } from "./ui/Shell";

/** Paths that are no pages of this application: the browser loads them. */
const SCOPE = /^\/(?!api\/)/;

const DocsPage = lazy(() => import("./pages/docs/DocsPage").then((module) => module.DocsPage));

function App() {
  return (
    <LocationProvider scope={SCOPE}>
      <Pages />
    </LocationProvider>
  );
}

function Pages() {
  const { path } = useLocation();
  return (
    <Shell path={path}>
      <ErrorBoundary onError={crashed}>
        {crash.value ? (
          <Crash />
        ) : (
          <Router>
            <Route path="/" component={JobsPage} />
            <Route path="/jobs" component={JobsPage} />
            <Route path="/jobs/:jobId" component={JobPage} />
            <Route path="/datasets" component={DatasetsPage} />
            <Route path="/docs" component={DocsPage} />
            <Route default component={NotFound} />
          </Router>
        )}
      </ErrorBoundary>
    </Shell>
  );
}

/** Set when a page threw while drawing; the frame around it still works. */
const crash = signal(false);
function crashed(error: Error): void {
  crash.value = true;
  reportError(error);
}

function Crash() {
  return (
    <Page title={[t("error.title")]} heading={t("error.title")}>
      <p>{t("error.crash")}</p>
      <button type="button" class="button" onClick={() => location.reload()}>
        {t("error.reload")}
      </button>
    </Page>
  );
}

function NotFound() {
  return (
    <Page title={[t("page.notfound")]} heading={t("page.notfound")}>
      <p>
        <a href="/">{t("page.toJobs")}</a>
      </p>
    </Page>
  );
}

const root = document.getElementById("app");
if (!root) throw new Error("index.html has no #app");
// A language file that can't be loaded leaves English.
await setLanguage(preferredLanguage()).catch(() => undefined);
render(<App />, root);
