import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { ApiError } from "../api/client";
import { answer, type Challenge, caller, firstAdmin, signIn, useKey } from "../api/session";
import { fmt, t } from "../i18n";
import { CopyButton } from "./CopyButton";
import { Field } from "./Field";

type OnStep = (challenge: Challenge | null) => void;

export function PasswordForm({ onStep }: { onStep: OnStep }) {
  const known = caller.value?.kind === "key" ? "" : (caller.value?.username ?? "");
  return (
    <Form
      verb={t("signin.go")}
      refused={t("signin.wrong")}
      act={async (data) => onStep(await signIn(data("username").trim(), data("password")))}
    >
      {(wrong) => (
        <>
          <Field
            name="username"
            label={t("signin.name")}
            autocomplete="username"
            type="text"
            defaultValue={known}
            first={!known}
            wrong={wrong}
          />
          <Field
            name="password"
            label={t("signin.password")}
            autocomplete="current-password"
            type="password"
            first={known !== ""}
            wrong={wrong}
          />
        </>
      )}
    </Form>
  );
}

/** An API key, or what is left for the time before the first admin: the deploy token. */
export function KeyForm() {
  return (
    <Form verb={t("signin.keyUse")} refused={t("signin.keyWrong")} act={(data) => useKey(data("key").trim())}>
      {(wrong) => (
        <Field
          name="key"
          label={t("signin.key")}
          hint={t("signin.keyHelp")}
          autocomplete="off"
          type="password"
          first
          wrong={wrong}
        />
      )}
    </Form>
  );
}

export function SetupForm({ needsCode, onStep }: { needsCode: boolean; onStep: OnStep }) {
  return (
    <Form
      verb={t("setup.go")}
      refused={t("setup.codeWrong")}
      act={async (data) => {
        const password = chosen(data);
        const code = needsCode ? { setup_code: data("code").trim() } : {};
        const admin = { username: data("username").trim(), email: data("email").trim(), password, ...code };
        onStep(await firstAdmin(admin));
      }}
    >
      {(wrong) => (
        <>
          <p>{t("setup.help")}</p>
          {needsCode && (
            <Field
              name="code"
              label={t("setup.code")}
              hint={t("setup.codeHelp")}
              autocomplete="off"
              type="password"
              first
              wrong={wrong}
            />
          )}
          <Field
            name="username"
            label={t("signin.name")}
            autocomplete="username"
            type="text"
            first={!needsCode}
            wrong={wrong}
          />
          <Field name="email" label={t("setup.email")} autocomplete="email" type="email" wrong={wrong} />
          <NewPassword wrong={wrong} />
        </>
      )}
    </Form>
  );
}

/** One more step that the user pool asks for. */
export function StepForm({ challenge, onStep }: { challenge: Challenge; onStep: OnStep }) {
  if (challenge.name === "NEW_PASSWORD_REQUIRED") {
    return (
      <Form
        verb={t("signin.setPassword")}
        refused={t("signin.tooLate")}
        act={async (data) => onStep(await answer(challenge, chosen(data)))}
      >
        {(wrong) => (
          <>
            <p>{t("signin.newHelp")}</p>
            {/* For password managers, which keep a password with its name. */}
            <input
              type="text"
              name="username"
              autocomplete="username"
              value={challenge.username}
              readOnly
              hidden
            />
            <NewPassword wrong={wrong} first />
          </>
        )}
      </Form>
    );
  }
  if (challenge.name !== "SOFTWARE_TOKEN_MFA" && challenge.name !== "MFA_SETUP") {
    return <p role="alert">{t("signin.unknownStep", { name: challenge.name })}</p>;
  }
  return (
    <Form
      verb={t("signin.go")}
      refused={t("signin.wrongCode")}
      act={async (data) => onStep(await answer(challenge, data("code").replaceAll(/\s/g, "")))}
    >
      {(wrong) => (
        <>
          {challenge.name === "MFA_SETUP" ? <NewApp challenge={challenge} /> : <p>{t("signin.codeHelp")}</p>}
          <Field
            name="code"
            label={t("signin.code")}
            autocomplete="one-time-code"
            digits
            type="text"
            first
            wrong={wrong}
          />
        </>
      )}
    </Form>
  );
}

function NewApp({ challenge }: { challenge: Challenge }) {
  return (
    <>
      <p>{t("signin.appHelp")}</p>
      {challenge.secret && (
        <p class="secret">
          <code>{challenge.secret}</code> <CopyButton text={challenge.secret} what={t("signin.appKey")} />
        </p>
      )}
      {challenge.otpauth_url?.startsWith("otpauth://") && (
        <p>
          <a href={challenge.otpauth_url}>{t("signin.appOpen")}</a>
        </p>
      )}
    </>
  );
}

function NewPassword({ wrong, first = false }: { wrong: string | undefined; first?: boolean }) {
  return (
    <>
      <Field
        name="password"
        label={t("signin.newPassword")}
        autocomplete="new-password"
        type="password"
        first={first}
        wrong={wrong}
      />
      <Field
        name="repeat"
        label={t("signin.repeat")}
        autocomplete="new-password"
        type="password"
        wrong={wrong}
      />
    </>
  );
}

type Data = (name: string) => string;

/** Something that the reader can mend before anybody is asked. */
class Mistake extends Error {}

function chosen(data: Data): string {
  if (data("password") !== data("repeat")) throw new Mistake(t("signin.differ"));
  return data("password");
}

interface FormProps {
  verb: string;
  /** What a 401 means here. */
  refused: string;
  act: (data: Data) => Promise<void>;
  /** Gets the id of the error's text while there is one. */
  children: (wrong: string | undefined) => ComponentChildren;
}

/** A form that says what went wrong and keeps what was typed, but for secrets that were refused. */
function Form({ verb, refused, act, children }: FormProps) {
  const busy = useSignal(false);
  const failed = useSignal<Error | null>(null);
  const wrong = useId();
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy.value) return;
    const form = event.currentTarget as HTMLFormElement;
    const data = new FormData(form);
    await attempt(busy, failed, () => act((name) => String(data.get(name) ?? "")));
    if (failed.value && form.isConnected) refocus(form);
  };
  return (
    <form onSubmit={submit}>
      {children(failed.value ? wrong : undefined)}
      <p id={wrong} class={failed.value ? "field-error" : undefined} role="alert">
        {failed.value && <Words error={failed.value} refused={refused} />}
      </p>
      <div class="signin-actions">
        <button type="submit" class="button button-primary" aria-disabled={busy.value}>
          {busy.value ? t("action.working") : verb}
        </button>
      </div>
    </form>
  );
}

async function attempt(busy: Signal<boolean>, failed: Signal<Error | null>, work: () => Promise<void>) {
  busy.value = true;
  failed.value = null;
  try {
    await work();
  } catch (error) {
    failed.value = error instanceof Error ? error : new Error(String(error));
  } finally {
    busy.value = false;
  }
}

/** To the last secret, which is the one to type again. */
function refocus(form: HTMLFormElement): void {
  const secrets = form.querySelectorAll<HTMLInputElement>(
    'input[type="password"], input[autocomplete="one-time-code"]',
  );
  secrets[0]?.focus();
  secrets[0]?.select();
}

function Words({ error, refused }: { error: Error; refused: string }) {
  if (!(error instanceof ApiError)) return <>{error.message}</>;
  if (error.kind !== "http") return <>{t(`error.${error.kind}`)}</>;
  if (error.status === 401 || error.code === "invalid_setup_code") return <>{refused}</>;
  if (error.status === 429) return <>{lockWords(error.retryAfterSeconds)}</>;
  return (
    <>
      {error.code === "weak_password" && `${t("signin.weak")} `}
      <span lang="en">{error.message}</span>
    </>
  );
}

function lockWords(seconds: number | null): string {
  if (seconds === null) return t("signin.lockedAWhile");
  const until = new Date(Date.now() + seconds * 1000).toISOString();
  return t("signin.locked", { time: fmt().time(until) });
}
