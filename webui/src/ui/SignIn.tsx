import { signal, useSignal } from "@preact/signals";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import { access } from "../api/client";
import { type Challenge, caller, setupStatus } from "../api/session";
import { t } from "../i18n";
import { Page } from "./Page";
import { KeyForm, PasswordForm, SetupForm, StepForm } from "./SignInForms";

/** True after the reader closed the dialog: the page can be read, and the header offers to sign in. */
export const putOff = signal(false);

/** The page of whoever comes without a session. */
export function SignInPage() {
  const title = useSignal(t("signin.title"));
  return (
    <Page title={[title.value]} heading={title.value}>
      <SignIn
        onTitle={(text) => {
          title.value = text;
        }}
      />
    </Page>
  );
}

/** Shown over the page when a session ends while somebody works: what is on the page stays. */
export function SignInDialog() {
  const ended = access.needed.value && caller.value !== null;
  useEffect(() => {
    if (ended) putOff.value = false;
  }, [ended]);
  return ended ? <Dialog /> : null;
}

function Dialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const title = useSignal("");
  useLayoutEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  const later = () => {
    access.needed.value = false;
    putOff.value = true;
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby={heading} onCancel={later}>
      <h2 id={heading}>{title.value || t("signin.again")}</h2>
      {!title.value && <p>{t("signin.againHelp")}</p>}
      <SignIn
        onTitle={(text) => {
          title.value = text === t("signin.title") ? "" : text;
        }}
        onLater={later}
      />
    </dialog>
  );
}

type Way = { name: "password" } | { name: "key" } | { name: "setup"; code: boolean } | StepWay;
interface StepWay {
  name: "step";
  challenge: Challenge;
}

interface SignInProps {
  /** Told what the present form is for. */
  onTitle: (title: string) => void;
  onLater?: () => void;
}

/** The forms of a sign-in, one at a time. */
function SignIn({ onTitle, onLater }: SignInProps) {
  const way = useSignal<Way>({ name: "password" });
  useEffect(() => {
    // Who is known has an admin already. Without an answer the usual form is a good guess.
    if (caller.value !== null) return;
    setupStatus().then(
      (status) => {
        if (status.needs_setup && way.value.name === "password")
          way.value = { name: "setup", code: status.setup_code_required };
      },
      () => undefined,
    );
  }, []);
  const now = way.value;
  const title = titleOf(now);
  useEffect(() => onTitle(title), [title]);
  const onStep = (challenge: Challenge | null) => {
    if (challenge) way.value = { name: "step", challenge };
  };
  const start = () => {
    way.value = { name: "password" };
  };
  return (
    <div class="signin">
      {now.name === "password" && <PasswordForm onStep={onStep} />}
      {now.name === "setup" && <SetupForm needsCode={now.code} onStep={onStep} />}
      {now.name === "key" && <KeyForm />}
      {now.name === "step" && <StepForm key={now.challenge.name} challenge={now.challenge} onStep={onStep} />}
      <div class="signin-actions">
        {now.name === "password" || now.name === "setup" ? (
          <button
            type="button"
            class="link-button"
            onClick={() => {
              way.value = { name: "key" };
            }}
          >
            {t("signin.withKey")}
          </button>
        ) : (
          <button type="button" class="link-button" onClick={start}>
            {t(now.name === "key" ? "signin.withPassword" : "signin.back")}
          </button>
        )}
        {onLater && (
          <button type="button" class="link-button" onClick={onLater}>
            {t("signin.later")}
          </button>
        )}
      </div>
    </div>
  );
}

function titleOf(way: Way): string {
  if (way.name === "setup") return t("setup.title");
  if (way.name !== "step") return t("signin.title");
  if (way.challenge.name === "NEW_PASSWORD_REQUIRED") return t("signin.newTitle");
  return t(way.challenge.name === "MFA_SETUP" ? "signin.appTitle" : "signin.codeTitle");
}
