curl -s http://localhost:8001/api/cloud/jobs/JOB_ID/logs | jq '.logs'
