# ジョブ詳細
curl -s http://localhost:8001/api/cloud/jobs/JOB_ID | jq

# ジョブ一覧
curl -s 'http://localhost:8001/api/cloud/jobs?limit=10' | jq

# アクティブジョブの状態を同期
curl -s 'http://localhost:8001/api/cloud/jobs?sync_active=true' | jq
