/** Signing in and out. Passwords, codes and keys pass through; a session stays in cookies that no script can read. */

import { signal } from "@preact/signals";
import { ApiError, access, admitted, request, setAccessToken, usesKey } from "./client";
import type { Caller, SetupStatus, SignInResult } from "./types";

/** Who this tab asks as; null while nobody is known. Stays through the end of a session, until somebody signs in. */
export const caller = signal<Caller | null>(null);

/** The next step of a sign-in. `secret` and `otpauth_url` come with MFA_SETUP. */
export interface Challenge {
  username: string;
  name: string;
  session: string;
  secret?: string | null;
  otpauth_url?: string | null;
}

export interface FirstAdmin {
  username: string;
  email: string;
  password: string;
  setup_code?: string;
}

/** Looks who the browser's cookies stand for. Nobody is no error; the sign-in is shown then. */
export async function recognize(): Promise<void> {
  try {
    caller.value = await request<Caller>("GET", "/api/auth/me");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
}

/** Resolves with null when somebody is signed in, else with the next step. Rejects with `ApiError`. */
export async function signIn(username: string, password: string): Promise<Challenge | null> {
  return entered(username, "/api/auth/login", { username, password });
}

/** Takes the step. As `signIn`. */
export async function answer(challenge: Challenge, text: string): Promise<Challenge | null> {
  return entered(challenge.username, "/api/auth/login/challenge", {
    username: challenge.username,
    challenge: challenge.name,
    challenge_session: challenge.session,
    answer: text,
  });
}

async function entered(username: string, path: string, body: object): Promise<Challenge | null> {
  const result = await request<SignInResult>("POST", path, {
    body: { ...body, session: "cookie" },
    anonymous: true,
  });
  if (result.challenge) return { ...result.challenge, username };
  if (!result.user) throw new ApiError("The answer names nobody.", { kind: "format" });
  const same = !usesKey() && caller.value?.id === result.user.id;
  setAccessToken(null);
  caller.value = result.user;
  admitted(same);
  return null;
}

/** Asks with this key or token from now on, in this tab only. Rejects with `ApiError` when it is not taken. */
export async function useKey(key: string): Promise<void> {
  setAccessToken(key);
  try {
    caller.value = await request<Caller>("GET", "/api/auth/me", { anonymous: true });
  } catch (error) {
    setAccessToken(null);
    throw error;
  }
  admitted(false);
}

/** Ends the session at the server, or forgets the key. Rejects with `ApiError`; then the session goes on. */
export async function signOut(): Promise<void> {
  if (!usesKey()) {
    try {
      await request("POST", "/api/auth/logout", { body: {}, anonymous: true });
    } catch (error) {
      // Without its cookies this browser has no session any more.
      if (!(error instanceof ApiError) || error.code !== "csrf_failed") throw error;
    }
  }
  setAccessToken(null);
  caller.value = null;
  admitted(false);
  access.needed.value = true;
}

export const setupStatus = () => request<SetupStatus>("GET", "/api/auth/setup/status", { anonymous: true });

/** Makes the first admin and signs in. As `signIn`. */
export async function firstAdmin(body: FirstAdmin): Promise<Challenge | null> {
  await request("POST", "/api/auth/setup/first-admin", { body, anonymous: true });
  return signIn(body.username, body.password);
}
