"""The operator: reconciles TFModels into ConfigMaps, Deployments and Services, and says in their status what is so."""
