// Datasets of the stand-in server.

const HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

const version = (id, status, age, checked) => ({
  dataset_id: "cat-and-coffee",
  version_id: id,
  status,
  files: 48,
  bytes: 18_400_000,
  merkle_root: HASH,
  checked,
  source_path: "/home/me/pictures/cat-and-coffee",
  created_at: ago(age),
  completed_at: status === "ready" ? ago(age - 20) : null,
});

export const DATASETS = [
  {
    dataset_id: "cat-and-coffee",
    source_path: "/home/me/pictures/cat-and-coffee",
    latest_version: "v-7f3a91c2",
    created_at: ago(400_000),
    updated_at: ago(4000),
    versions: [version("v-7f3a91c2", "ready", 4000, 48), version("v-02be11d0", "ready", 400_000, 48)],
  },
  {
    dataset_id: "rocket",
    source_path: null,
    latest_version: null,
    created_at: ago(90_000),
    updated_at: ago(90_000),
    versions: [{ ...version("v-c0ffee12", "uploading", 90_000, 12), dataset_id: "rocket" }],
  },
];
