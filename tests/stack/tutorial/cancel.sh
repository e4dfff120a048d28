curl -s -X POST http://localhost:8001/api/cloud/jobs/JOB_ID/cancel | jq
